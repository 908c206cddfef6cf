"""Wirings are numbered by target and source, and refuse what is no acyclic network."""

import numpy as np
import pytest

from phasescope.errors import InputError
from phasescope.synapses import Wiring, full_cascade, layers, thinned_cascade


def test_the_default_has_the_counts_of_the_article():
    wiring = thinned_cascade()
    assert (wiring.units, wiring.synapses, wiring.size) == (37, 460, 497)
    assert (wiring.inputs, wiring.outputs) == (2, (34, 35, 36))


def test_counts_of_a_full_cascade_follow_from_arithmetic():
    # Unit i reads both inputs and i units: the sum of i + 2 for 37 units.
    assert full_cascade().synapses == 36 * 37 // 2 + 2 * 37 == 740
    assert full_cascade().size == 777


def test_counts_of_layers_follow_from_arithmetic():
    assert layers(2, 11, 23, 3).synapses == 2 * 11 + 11 * 23 + 23 * 3
    assert layers(2, 11, 23, 3).outputs == (34, 35, 36)


def test_weights_are_numbered_by_target_then_by_source():
    wiring = Wiring(2, ((0,), (0, 1, 2), (1, 3)), (2,))
    assert wiring.targets.tolist() == [0, 1, 1, 1, 2, 2, 0, 1, 2]
    assert wiring.reads.tolist() == [0, 0, 1, 2, 1, 3]
    names = [wiring.name(w) for w in range(wiring.size)]
    assert names[0] == "synapse 0: input x -> unit 0"
    assert names[3] == "synapse 3: unit 0 -> unit 1"
    assert names[4] == "synapse 4: input y -> unit 2"
    assert names[7] == "bias of unit 1"


def test_mask_and_sources_are_the_same_thing():
    wiring = Wiring(2, ((0, 1), (1, 2), (0, 2, 3)), (1, 2))
    assert Wiring.from_mask(wiring.mask, outputs=(1, 2)) == wiring
    assert wiring.mask.astype(int).tolist() == [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 0, 1, 1, 0]]
    assert Wiring.from_mask(wiring.mask, outputs=2).outputs == (1, 2)


def test_units_may_be_numbered_against_the_flow():
    # Unit 0 reads unit 2, which reads unit 1.
    wiring = Wiring(1, ((3,), (0,), (2,)), (0,))
    assert wiring.order == (1, 2, 0)
    assert wiring.steps_to_output.tolist() == [0, 2, 1]


def test_steps_to_the_output_take_the_shortest_way():
    assert thinned_cascade().steps_to_output[[36, 33, 27, 26, 13, 12]].tolist() == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize(
    ("sources", "outputs", "message"),
    [
        (((0, 2), (1,)), (0, 1), "cycle, unit 0 -> 0"),
        (((0, 1, 3), (2,)), (1,), "cycle, unit 1 -> 0 -> 1"),
        (
            ((0, 4), (1, 2), (3,), (0, 1)),
            (3,),
            "unit (0 -> 1 -> 2|1 -> 2 -> 0|2 -> 0 -> 1) ->",
        ),
        (((0, 1), (0,)), (0,), "Unit 1 reaches no output"),
        (((0,), (2,)), (1,), "No unit reads input 1"),
        (((0, 1), ()), (0,), "Unit 1 reads nothing"),
        (((0, 1), (1, 0)), (0, 1), r"Unit 1 reads \(1, 0\)"),
        (((0, 1), (0, 0)), (0, 1), r"Unit 1 reads \(0, 0\)"),
        (((0, 1), (0, 9)), (0, 1), "Unit 1 reads value 9"),
        (((0, 1), (-1, 0)), (0, 1), "Unit 1 reads value -1"),
        (((0, 1),), (1,), "outputs are units"),
        (((0, 1),), (0, 0), "outputs are units"),
        (((0, 1),), (), "outputs are units"),
        ((), (0,), "0 units"),
    ],
)
def test_what_is_no_network_is_named(sources, outputs, message):
    with pytest.raises(InputError, match=message):
        Wiring(2, sources, outputs)


def test_masks_of_another_shape_or_content_are_refused():
    with pytest.raises(InputError, match=r"shape \(3, 3\)"):
        Wiring.from_mask(np.ones((3, 3)))
    with pytest.raises(InputError, match="other than 0 and 1"):
        Wiring.from_mask([[1, 0.5, 0]], outputs=1)
    with pytest.raises(InputError, match="no network"):
        layers(2)
