"""Properties of classifiers and sequence models, on outputs whose answer is known by hand."""

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.synapses import CalibrationError, ClassMargin, Logit, NextTokenMargin

LOGITS = torch.tensor([[1.0, 2.0, 4.0], [0.0, -1.0, 3.0], [5.0, 2.0, 2.0], [0.5, 0.0, 1.0]]).double()


def normal(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_a_logit_is_the_mean_over_its_cases():
    assert float(Logit(1).value(LOGITS)) == pytest.approx(0.75)
    assert float(Logit(2, cases=[0, 3]).value(LOGITS)) == pytest.approx(2.5)
    mask = torch.tensor([True, False, False, True])
    assert float(Logit(2, cases=mask).value(LOGITS)) == pytest.approx(2.5)
    assert torch.equal(Logit(2, cases=[0, 3]).support(LOGITS), mask)
    assert Logit(1).support(LOGITS) is None
    expected = torch.zeros(4, 3).double()
    expected[[0, 3], 2] = 0.5
    torch.testing.assert_close(Logit(2, cases=[0, 3]).gradient(LOGITS), expected)


def test_a_margin_is_over_the_next_class_or_a_named_one():
    assert float(ClassMargin(2).value(LOGITS)) == pytest.approx((2 + 3 - 3 + 0.5) / 4)
    assert float(ClassMargin(2, against=1).value(LOGITS)) == pytest.approx((2 + 4 + 0 + 1) / 4)
    assert float(ClassMargin(0, cases=[2]).value(LOGITS)) == pytest.approx(3)
    own = torch.tensor([2, 2, 0, 2])
    assert float(ClassMargin(own).value(LOGITS)) == pytest.approx((2 + 3 + 3 + 0.5) / 4)
    assert float(ClassMargin(own, cases=[1, 2]).value(LOGITS)) == pytest.approx(3)


def test_the_next_token_is_asked_where_its_number_is_not_negative():
    output = LOGITS.reshape(2, 2, 3)
    following = torch.tensor([[2, -100], [0, -100]])
    assert float(NextTokenMargin(following).value(output)) == pytest.approx(2.5)
    assert float(NextTokenMargin(following, against=1).value(output)) == pytest.approx((2 + 3) / 2)
    assert NextTokenMargin(following).support(output).tolist() == [[True, False], [True, False]]


def binned(logits, labels, bins):
    """The usual calibration error with bins of equal width."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    confidence, right = p.max(1), p.argmax(1) == labels
    total = 0.0
    for b in range(bins):
        inside = (confidence > b / bins) & (confidence <= (b + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 5, 15])
def test_with_hard_bins_it_is_the_usual_calibration_error(bins):
    logits = 2 * normal(200, 4)
    labels = torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(1))
    expected = binned(logits.numpy(), labels.numpy(), bins)
    assert float(CalibrationError(labels, bins=bins, softness=1e-4).value(logits)) == pytest.approx(expected)


def test_the_calibration_error_has_the_gradient_of_differences():
    logits = normal(30, 4, seed=2)
    labels = torch.randint(0, 4, (30,), generator=torch.Generator().manual_seed(1))
    prop = CalibrationError(labels)
    step = 1e-6 * normal(30, 4, seed=3)
    difference = float(prop.value(logits + step) - prop.value(logits - step)) / 2
    assert float((prop.gradient(logits) * step).sum()) == pytest.approx(difference, rel=1e-4)


def test_cases_without_a_label_do_not_count():
    logits = 2 * normal(40, 4)
    labels = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(1))
    some = torch.where(torch.arange(40) < 25, labels, -1)
    prop = CalibrationError(some)
    assert float(prop.value(logits)) == pytest.approx(float(CalibrationError(labels[:25]).value(logits[:25])))
    assert prop.support(logits).sum() == 25
    assert CalibrationError(labels).support(logits) is None


@pytest.mark.parametrize(
    ("prop", "words"),
    [
        (Logit(3), "Class 3"),
        (Logit(0, cases=[4]), "Case 4 is asked of 4"),
        (Logit(0, cases=torch.zeros(4, dtype=torch.bool)), "No case"),
        (Logit(0, cases=torch.ones(3, dtype=torch.bool)), r"\(3,\)"),
        (Logit(0, cases=torch.ones(2)), "type torch.float32"),
        (ClassMargin(0, against=7), "Class 7"),
        (NextTokenMargin(torch.zeros(2, 2, dtype=torch.long)), r"\(2, 2\)"),
        (CalibrationError(torch.zeros(3, dtype=torch.long)), r"\(3,\)"),
    ],
)
def test_what_does_not_fit_the_output_is_named(prop, words):
    with pytest.raises(InputError, match=words):
        prop.gradient(LOGITS)


def test_bad_settings_are_named():
    with pytest.raises(InputError, match="against itself"):
        ClassMargin(2, against=2)
    with pytest.raises(InputError, match="No position"):
        NextTokenMargin(torch.full((2, 2), -100))
    with pytest.raises(InputError, match="softness=0"):
        CalibrationError(torch.zeros(3, dtype=torch.long), softness=0)


def test_the_same_can_be_asked_of_other_cases():
    mask = torch.tensor([True, False, False, True])
    for one, other in (
        (Logit(2, cases=[1]), Logit(2, cases=[0, 3])),
        (ClassMargin(2), ClassMargin(2, cases=[0, 3])),
    ):
        moved = one.elsewhere(mask)
        assert float(moved.value(LOGITS)) == float(other.value(LOGITS))
        assert torch.equal(moved.support(LOGITS), mask)
        assert one.cases is not mask
