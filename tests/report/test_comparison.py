"""What tells several networks apart."""

from dataclasses import replace

from phasescope.report.comparison import lines, opening, subjects


def test_one_network_opens_with_its_own_sentence(inspection):
    alone = inspection()
    assert opening([alone]) == alone.sentence


def test_phases_that_differ_are_said_first_and_the_critical_one_is_advised(three):
    assert opening(three) == (
        "“small” is ordered, “large” is chaotic and “just right” is critical: start from “just right”."
    )


def test_without_a_critical_one_criticality_is_advised(three):
    assert opening(three[:2]) == (
        "“small” is ordered and “large” is chaotic: initialise at criticality instead."
    )


def test_networks_of_one_phase_share_a_clause(inspection):
    networks = [inspection("a", chi=0.5), inspection("b", chi=0.6), inspection("c", chi=2.0, phase="chaotic")]
    assert opening(networks).startswith("“a” and “b” are ordered and “c” is chaotic")


def test_equal_networks_agree_and_unequal_ones_of_one_phase_are_ranked(inspection):
    same = [inspection("a", chi=0.5), inspection("b", chi=0.5)]
    assert opening(same) == "Both are ordered, and their margins agree within their errors."
    ranked = opening([inspection("a", chi=0.5), inspection("b", chi=0.3)])
    assert ranked.startswith("Both are ordered; ln χ⊥ per step runs from −1.2")
    assert ranked.index("“b”") < ranked.index("“a”")


def test_lines_say_whether_they_differ(three):
    found = {line.name: line for line in lines(subjects(three))}
    assert found["Phase"].cells == ("ordered", "chaotic", "critical")
    assert found["Phase"].differs
    assert not found["Parameters"].differs
    assert found["Parameters"].cells[0] == "1\u2009000"
    margin = found["Margin, mean ln χ⊥ per step"]
    assert [cell.split()[0] for cell in margin.cells] == ["−0.693", "0.693", "0.000"]


def test_a_network_without_propagation_leaves_the_others_comparable(three):
    bare = replace(three[0], datasets={})
    assert [subject.label for subject in subjects([bare, *three[1:]])] == ["large", "just right"]
