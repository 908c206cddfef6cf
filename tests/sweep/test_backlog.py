"""Groups are neither too short nor blind to what was measured."""

import pytest

from phasescope.sweep import Task
from phasescope.sweep.run import Backlog
from sweep_tasks import tasks


def test_the_longest_come_first_and_alone():
    work = [Task("t", "p", {"n": n}, seconds=n) for n in (1, 30, 5, 0.2)]
    backlog = Backlog(work)
    assert [[task.seconds for task in backlog.take()] for _ in work] == [[30], [5], [1], [0.2]]
    assert not backlog


def test_short_tasks_are_grouped_to_a_tenth_of_a_second():
    backlog = Backlog(tasks(100, estimated=0.02))
    assert len(backlog.take()) == 5
    assert len(backlog.take()) == 5


def test_measured_times_correct_the_groups_of_their_part_only():
    backlog = Backlog(tasks(400, part="fast", estimated=0.05) + tasks(50, part="other", estimated=0.05))
    for task in backlog.take():
        backlog.learn(task, 0.001 if task.part == "fast" else 0.05)
    groups = []
    while backlog:
        groups.append(backlog.take())
        for task in groups[-1]:
            backlog.learn(task, 0.001 if task.part == "fast" else 0.05)
    long = [group for group in groups if all(task.part == "fast" for task in group)]
    assert max(len(group) for group in long) == pytest.approx(100, abs=1)
    assert all(len(group) == 2 for group in groups if all(task.part == "other" for task in group))


def test_unconfirmed_estimates_fill_no_large_groups():
    assert len(Backlog(tasks(1000, estimated=0.0)).take()) == 8


def test_remaining_counts_what_is_under_way_and_follows_the_measured_times():
    backlog = Backlog(tasks(10, estimated=0.5))
    assert backlog.remaining == pytest.approx(5.0)
    [task] = backlog.take()
    assert backlog.remaining == pytest.approx(5.0)
    backlog.learn(task, 1.0)
    assert backlog.remaining == pytest.approx(9.0)
    [task] = backlog.take()
    backlog.forget(task)
    assert backlog.remaining == pytest.approx(8.0)
    assert len(backlog.rest()) == 8
