"""The distribution of eigenvalues: exact, and by random probes whose error is known."""

import numpy as np
import pytest
import torch

from phasescope.errors import InputError
from phasescope.training import objective
from phasescope.training.density import exact_density, probed_density, share_below
from phasescope.training.sharpness import sharpness
from reference.quadratics import ONE, Weights, quadratic

RNG = np.random.default_rng(5)
SPECTRUM = np.concatenate([[5.0, 4.0], RNG.standard_normal(998)])


def probed(spectrum, *, probes=8, steps=20, seed=0, rows=1000):
    diagonal = torch.as_tensor(spectrum)
    return probed_density(
        lambda v: diagonal * v,
        torch.ones(len(spectrum), dtype=torch.float64),
        probes=probes,
        steps=steps,
        rows=rows,
        generator=torch.Generator().manual_seed(seed),
    )[0]


def probe(seed, n):
    v = torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    return v / np.linalg.norm(v)


def test_a_rule_of_m_steps_is_exact_for_powers_below_2m():
    v, found = probe(3, 1000), probed(SPECTRUM, probes=2, steps=6, seed=3)
    for power in range(12):
        assert found.weights[0] @ found.nodes[0] ** power == pytest.approx(
            (v**2) @ SPECTRUM**power, rel=1e-10
        )
    assert found.weights[0] @ found.nodes[0] ** 12 != pytest.approx((v**2) @ SPECTRUM**12, rel=1e-6)


@pytest.mark.parametrize("end", [-3.0, -1.0, -0.1, 0.0, 0.3, 2.0, 4.5, 6.0, -9.0])
@pytest.mark.parametrize("steps", [3, 15])
def test_bounds_hold_the_share_of_a_probe_below_a_value(end, steps):
    v, found = probe(0, 1000), probed(SPECTRUM, probes=2, steps=steps)
    low, high = share_below(found.diagonal[0], found.off_diagonal[0], end)
    below = (v**2)[end > SPECTRUM].sum()
    assert low - 1e-12 <= below <= high + 1e-12
    assert 0 <= high - low <= (1 if steps == 3 else 0.25)


def test_bounds_at_a_node_of_the_rule_itself_hold_as_well():
    v, found = probe(0, 1000), probed(SPECTRUM, probes=2, steps=9)
    for node in found.nodes[0]:
        low, high = share_below(found.diagonal[0], found.off_diagonal[0], node)
        assert low - 1e-12 <= (v**2)[node > SPECTRUM].sum() <= high + 1e-12


def test_a_matrix_with_few_eigenvalues_is_exhausted_and_told_apart():
    spectrum = np.repeat([2.0, 0.0, -1.0], [100, 250, 50])
    found = probed(spectrum, probes=30, steps=20)
    assert all(len(nodes) == 3 for nodes in found.nodes)
    for low, high, share in ((-0.5, 0.5, 250), (0.5, np.inf, 100), (-np.inf, -0.5, 50)):
        estimate = found.share(low, high)
        assert estimate.value == pytest.approx(share / 400, abs=4 * estimate.error)
        assert estimate.error < 0.02


def test_moments_agree_with_the_spectrum_within_their_errors():
    scores = []
    for seed in range(100):
        found = probed(SPECTRUM, seed=seed, steps=4)
        estimates = [found.moment(power) for power in (1, 2, 4)]
        scores.append(
            [(e.value - np.mean(SPECTRUM**p)) / e.error for e, p in zip(estimates, (1, 2, 4), strict=True)]
        )
    # Student's t with 7 degrees of freedom: 65 % within one error, 91 % within two.
    within = np.abs(scores)
    assert np.all(np.abs((within < 1).mean(0) - 0.65) < 3 * np.sqrt(0.65 * 0.35 / 100))
    assert np.all(np.abs((within < 2).mean(0) - 0.91) < 3 * np.sqrt(0.91 * 0.09 / 100))


def test_few_vectors_in_memory_give_the_same_within_the_errors():
    full, short = probed(SPECTRUM, steps=60), probed(SPECTRUM, steps=60, rows=3)
    assert full.moment(2).value == pytest.approx(short.moment(2).value, rel=1e-6)
    one, other = full.share(-0.5, 0.5), short.share(-0.5, 0.5)
    assert other.value == pytest.approx(one.value, abs=one.error + other.error)


def test_the_curve_integrates_to_one_and_peaks_where_the_eigenvalues_are():
    exact = exact_density(np.sort(SPECTRUM))
    grid, curve, error = exact.curve(width=0.1)
    assert np.trapezoid(curve, grid) == pytest.approx(1, abs=1e-3)
    assert np.all(error == 0)
    beside = probed(SPECTRUM, probes=10, steps=60)
    _, rough, spread = beside.curve(grid, width=0.3)
    _, smooth, _ = exact.curve(grid, width=0.3)
    assert np.all(np.abs(rough - smooth) < 5 * spread + 0.02)
    normal = np.exp(-0.5 * grid**2 / 1.09) / np.sqrt(2 * np.pi * 1.09)
    assert np.abs(smooth - 0.998 * normal)[grid < 3].max() < 0.03


def test_sharpness_gives_all_eigenvalues_where_that_takes_fewer_products():
    spectrum = np.linspace(-1, 2, 50)
    made = objective(Weights(50), quadratic(spectrum), ONE)
    exact = sharpness(made, density=True, probes=10, steps=5).density
    np.testing.assert_allclose(exact.nodes[0], spectrum, atol=1e-12)
    assert exact.moment(2).value == pytest.approx(np.mean(spectrum**2))
    assert exact.share(0, 1).error == 0
    few = sharpness(made, density=True, probes=5, steps=4).density
    assert (few.exact, len(few.nodes)) == (False, 5)
    assert "5 probes" in str(few)


def test_a_width_of_zero_is_refused():
    with pytest.raises(InputError, match="width of a peak is 0"):
        exact_density(np.arange(3.0)).curve(width=0)
