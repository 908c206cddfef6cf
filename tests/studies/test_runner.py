"""A study from its configuration to its checks, and again from what it wrote."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hostile_files
import toy_study
from phasescope import studies
from phasescope.errors import InputError
from phasescope.studies import Variable
from phasescope.sweep import Store, Task
from phasescope.sweep.manifest import only_run

RESULTS = ("results.nc", "results.nc.sha256", "checks.json")


def contents(directory, names=RESULTS):
    return {name: (directory / name).read_bytes() for name in names}


def verdicts(run):
    return {check.id: check.verdict for check in run.checks}


def test_every_claim_is_checked_against_its_own_data(finished):
    directory, run = finished
    assert verdicts(run) == {
        "mean/centre-0.5": "agrees",
        "mean/centre-2": "agrees",
        "square/sum": "agrees",
        "square/undone": "not determined",
        "square/free": "no reference",
    }
    assert run.failed == {}
    assert run.sentence == ("Of 5 claims, 3 agree, 1 is not determined and 1 has no number to compare with.")
    entries = json.loads((directory / "checks.json").read_text())
    assert [entry["id"] for entry in entries] == list(verdicts(run))
    assert set(entries[0]) >= {"id", "claim", "source", "expected", "measured", "error", "verdict"}
    assert entries[3]["measured"] is None
    by_hand = [
        np.random.default_rng(task.seed).normal(2.0, 1.0, 40).mean()
        for task in toy_study.MEAN.tasks(run.config)
        if task.parameters["centre"] == 2.0
    ]
    assert entries[1]["measured"] == pytest.approx(np.mean(by_hand), rel=1e-12)


def test_what_differs_between_runs_is_only_in_run_json(finished, tmp_path, toy, quick):
    directory, first = finished
    again = studies.run(toy, quick(), tmp_path, command="phasescope study run toy")
    assert contents(tmp_path) == contents(directory)
    assert again.checks == first.checks
    diary = json.loads((tmp_path / "run.json").read_text())
    assert (diary["finished"], diary["workers"], diary["command"]) == (True, 1, "phasescope study run toy")
    assert diary["wall_seconds"] > 0


@pytest.mark.slow
def test_two_workers_that_load_the_study_from_its_file_give_the_same_bytes(finished, tmp_path, quick):
    directory, _ = finished
    spec = f"{Path(toy_study.__file__)}:STUDY"
    run = studies.run(spec, quick(), tmp_path, workers=2)
    assert run.outcome.computed == 17
    assert contents(tmp_path, ("checks.json",)) == contents(directory, ("checks.json",))
    for name, node in run.data.children.items():
        assert node.to_dataset().identical(finished[1].data[name].to_dataset())


def test_a_second_run_reuses_and_a_lost_or_damaged_file_is_computed_alone(tmp_path, toy, quick):
    studies.run(toy, quick(), tmp_path)
    before = contents(tmp_path)
    assert studies.run(toy, quick(), tmp_path).outcome.computed == 0
    tasks = toy.tasks(quick())
    store = Store(tmp_path / "tasks")
    store.path(tasks[0]).unlink()
    content = bytearray(store.path(tasks[5]).read_bytes())
    content[-3] ^= 16
    store.path(tasks[5]).write_bytes(content)
    outcome = studies.run(toy, quick(), tmp_path).outcome
    assert (outcome.computed, outcome.reused) == (2, 15)
    assert list(outcome.damaged) == [tasks[5].id]
    assert contents(tmp_path) == before


def test_parts_run_one_after_the_other_end_as_one_run(finished, tmp_path, toy, quick):
    first = studies.run(toy, quick(), tmp_path, parts=["square"])
    assert list(first.analyses) == ["square"]
    assert set(verdicts(first)) == {"square/sum", "square/undone", "square/free"}
    studies.run(toy, quick(), tmp_path, parts=["mean"])
    assert contents(tmp_path) == contents(finished[0])
    with pytest.raises(InputError, match=r"no part 'sqare'.*mean, square"):
        studies.run(toy, quick(), tmp_path, parts=["sqare"])


def test_a_task_that_raises_leaves_the_other_parts_standing(tmp_path, toy, quick):
    run = studies.run(toy, quick("square.fails=3"), tmp_path)
    assert list(run.failed) == ["square"]
    assert "1 of 5 tasks are missing" in run.failed["square"]
    assert "ArithmeticError: no square of 3 today" in run.failed["square"]
    assert verdicts(run) == {
        "mean/centre-0.5": "agrees",
        "mean/centre-2": "agrees",
        "square/complete": "not determined",
    }
    data = run.data["square"].to_dataset()
    assert list(data["x"].values) == [0, 1, 2, 4]
    assert not np.isnan(data["square"].values).any()
    loaded = studies.load(tmp_path, study=toy)
    assert loaded.checks_json() == run.checks_json()
    assert loaded.failed == run.failed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("square.analysis=no such thing", "the analysis failed with ValueError: no such thing"),
        ("square.figure=no ink", "a figure failed with RuntimeError: no ink"),
        ("square.uneven=true", r"powers .* has shape \(4,\) in task"),
    ],
)
def test_what_fails_after_measuring_is_told_and_kept_apart(tmp_path, toy, quick, change, said):
    run = studies.run(toy, quick(change), tmp_path)
    assert list(run.failed) == ["square"]
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(run.failed["square"])
    assert verdicts(run)["square/complete"] == "not determined"
    assert verdicts(run)["mean/centre-2"] == "agrees"
    assert ("square/sum" in verdicts(run)) == (change.startswith("square.figure"))
    assert studies.load(tmp_path, study=toy).checks_json() == run.checks_json()


def test_loading_needs_the_results_alone(finished, tmp_path, toy):
    directory, run = finished
    for name in ("results.nc", "results.nc.sha256"):
        shutil.copy(directory / name, tmp_path)
    loaded = studies.load(tmp_path, study=toy)
    assert loaded.checks_json() == (directory / "checks.json").read_text()
    assert loaded.config == run.config
    with pytest.raises(InputError, match="of the study 'toy', which is not one of phasescope's"):
        studies.load(tmp_path)


def test_results_of_other_settings_are_refused(finished, toy):
    directory, _ = finished
    other = replace(toy, common={"quick": Renamed(), "paper": Renamed()})
    with pytest.raises(InputError, match=r"results\.nc has a configuration that toy does not take"):
        studies.load(directory, study=other)


class Renamed(studies.StudySettings):
    seeds: int = 0


def test_a_folder_of_another_configuration_is_refused(finished, toy, quick):
    with pytest.raises(InputError, match=r"configuration\.mean\.networks is 6 there and 7 here"):
        studies.run(toy, quick("mean.networks=7"), finished[0])


def test_a_run_that_is_refused_leaves_the_folder_as_it_is(tmp_path, toy, quick):
    studies.run(toy, quick(), tmp_path, command="the first")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"configuration\.seed is 0 there and 1 here"):
        studies.run(toy, quick("seed=1"), tmp_path, command="the second")
    with only_run(tmp_path / "tasks"), pytest.raises(InputError, match="Another run is at work"):
        studies.run(toy, quick(), tmp_path, command="the third")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_another_seed_gives_other_draws(finished, tmp_path, toy, quick):
    run = studies.run(toy, quick("seed=1"), tmp_path, parts=["mean"])
    mine, theirs = run.data["mean"]["draw"].values, finished[1].data["mean"]["draw"].values
    assert not np.isin(mine, theirs).any()
    assert run.again == "phasescope study run toy --preset quick --set seed=1"


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(tmp_path, toy, quick):
    with pytest.raises(InputError, match=r"--device warp.*--device cpu"):
        studies.run(toy, quick(), tmp_path / "new", device="warp")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["results.nc", "results.nc.sha256", "checks.json", "run.json"])
def test_a_folder_in_the_place_of_a_result_is_refused_before_measuring(tmp_path, toy, quick, name):
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=f"{name} is a folder.*--out DIR"):
        studies.run(toy, quick(), tmp_path)
    assert not (tmp_path / "tasks").exists()


@pytest.mark.parametrize("make", [make for make in hostile_files.ALL if make is not hostile_files.folder])
def test_what_stands_in_the_place_of_a_file_is_replaced_and_never_read(finished, tmp_path, toy, quick, make):
    (tmp_path / "tasks").mkdir()
    first = Store(tmp_path / "tasks").path(toy.tasks(quick())[0])
    for path in (
        *(tmp_path / name for name in (*RESULTS, "run.json")),
        tmp_path / "tasks" / "manifest.json",
        first,
    ):
        make(path)
    assert list(studies.run(toy, quick(), tmp_path).outcome.damaged) == [first.stem, "manifest.json"]
    assert contents(tmp_path) == contents(finished[0])


def alone(part):
    return studies.Study("toy", "t", "s", "x", (part,))


def badly_measured(task, device):
    return {"draw": np.zeros((2, 2))} if task.replica else {"drawn": np.zeros(2)}


def test_an_array_that_is_not_as_declared_is_a_failure_of_its_task(tmp_path, quick):
    run = studies.run(alone(replace(toy_study.MEAN, measure=badly_measured)), quick(), tmp_path)
    assert len(run.outcome.failed) == 12
    said = " ".join(run.outcome.failed.values())
    assert "draw is float64 of shape (2, 2), not numbers along ('sample',)" in said
    assert "measure returned drawn, not draw" in said


def test_a_parameter_with_the_name_of_a_dimension_is_refused_before_measuring(tmp_path, quick):
    clash = replace(toy_study.MEAN, variables={"draw": Variable(("samples",), "normal draws")})
    with pytest.raises(InputError, match="part mean: samples names a parameter as well"):
        studies.run(alone(clash), quick(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


SLASHED = {
    "study": lambda: replace(toy_study.STUDY, name="../toy"),
    "preset": lambda: studies.Study("toy", "t", "s", "x", (), common={"a/b": studies.StudySettings()}),
    "part": lambda: replace(toy_study.MEAN, name="a/b"),
    "part ": lambda: replace(toy_study.MEAN, name=""),
    "variable": lambda: replace(toy_study.MEAN, variables={"a/b": Variable((), "one")}),
    "dimension": lambda: Variable(("a/b",), "one"),
    "claim": lambda: studies.Claim("a/b", "One."),
    "figure": lambda: studies.Panels("../a", "One.", []),
}


@pytest.mark.parametrize("make", SLASHED.values(), ids=SLASHED)
def test_a_name_that_cannot_be_stored_is_refused_when_it_is_given(make):
    with pytest.raises(InputError, match=r"has a name that cannot be stored\. Use letters, digits and"):
        make()


def test_names_that_would_hide_one_another_are_refused_when_they_are_given(toy):
    with pytest.raises(InputError, match="part mean: sample is an array as well as a dimension"):
        replace(toy_study.MEAN, variables={"sample": Variable(("sample",), "normal draws")})
    for name in ("activation", "seed", "subtitle", "json"):
        with pytest.raises(InputError, match=f"part {name} has the name of a setting of the study"):
            replace(toy, parts=(replace(toy_study.MEAN, name=name),))


class OnePart(studies.StudySettings):
    """Settings that ask for the part of a name."""

    only: str = ""

    @property
    def asked(self):
        return (self.only,) if self.only else ()


def test_settings_may_ask_for_one_part_where_the_run_names_none(toy, tmp_path):
    common = {"quick": OnePart(only="mean"), "paper": OnePart()}
    parts = tuple(replace(part, presets={}, tasks=no_tasks) for part in toy.parts)
    study = studies.Study("own_study", "t", "s", "x", parts, common=common)
    assert len(parts) > 1
    names = [each.part.name for each in studies.plan(study, study.presets["quick"], tmp_path)]
    assert names == ["mean"]
    for config, asked in ((study.presets["paper"], None), (study.presets["quick"], [p.name for p in parts])):
        plans = studies.plan(study, config, tmp_path, parts=asked)
        assert [each.part.name for each in plans] == [part.name for part in parts]


def no_tasks(config):
    return []


def slashed_parameter(config):
    return [Task("toy", "mean", {"a/b": 1})]


def test_a_parameter_that_cannot_be_stored_is_refused_before_measuring(tmp_path, quick):
    odd = replace(toy_study.MEAN, tasks=slashed_parameter)
    with pytest.raises(InputError, match="part mean: parameter 'a/b' has a name that cannot be stored"):
        studies.run(alone(odd), quick(), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_task_file_of_other_arrays_is_told_and_keeps_the_other_parts(tmp_path, toy, quick):
    studies.run(toy, quick(), tmp_path)
    store = Store(tmp_path / "tasks")
    store.write(toy_study.SQUARE.tasks(quick())[0], {"other": np.zeros(2)})
    run = studies.run(toy, quick(), tmp_path)
    assert list(run.failed) == ["square"]
    assert "square: measure returned other, not powers, square" in run.failed["square"]
    assert verdicts(run)["mean/centre-2"] == "agrees"


def one_name_twice(numbers):
    return toy_study.mean_claims(numbers) * 2


def test_two_checks_of_one_name_are_a_failure(tmp_path, quick):
    run = studies.run(alone(replace(toy_study.MEAN, claims=one_name_twice)), quick(), tmp_path)
    assert "mean/centre-0.5" in run.failed["checks"]


def test_numbers_are_computed_once_for_claims_tables_notes_and_figures(tmp_path, quick):
    calls = []

    def counted(data, config):
        calls.append(data.sizes["task"])
        return toy_study.mean_numbers(data, config)

    run = studies.run(alone(replace(toy_study.MEAN, numbers=counted)), quick(), tmp_path)
    assert calls == [12]
    assert [picture.name for picture in run.pictures["mean"]] == ["means"]


def growing(task, device):
    x = task.parameters["x"]
    return {"powers": np.arange(1.0, 2.0 + x)} | ({"square": np.array(x**2)} if x else {})


def test_ragged_and_optional_arrays_are_filled_up_with_nan(tmp_path, quick):
    variables = {
        "square": Variable((), "the square", "m^2", optional=True),
        "powers": Variable(("power",), "a row"),
    }
    part = replace(toy_study.SQUARE, variables=variables, measure=growing, ragged=("power",))
    data = studies.run(alone(part), quick(), tmp_path).data["square"].to_dataset()
    assert np.isnan(data["square"].values[0])
    assert list(data["square"].values[1:]) == [1, 4, 9, 16]
    rows = data["powers"].values
    assert [list(row[np.isfinite(row)]) for row in rows] == [list(range(1, 2 + x)) for x in range(5)]
    assert rows.shape == (5, 5)


def no_square(task, device):
    return {"powers": np.zeros(3)}


def two_lengths(task, device):
    return {"square": np.zeros(2), "powers": np.zeros(3)}


@pytest.mark.parametrize(
    ("measure", "variables", "said"),
    [
        (no_square, toy_study.SQUARE.variables, "measure returned powers, not powers, square"),
        (two_lengths, {"square": Variable(("power",), "two"), "powers": Variable(("power",), "three")},
         r"powers \('power',\) has shape \(3,\) in task .*, but square \('power',\) has shape \(2,\)"),
    ],
)  # fmt: skip
def test_what_is_not_declared_ragged_or_optional_is_refused(tmp_path, quick, measure, variables, said):
    part = replace(toy_study.SQUARE, variables=variables, measure=measure)
    run = studies.run(alone(part), quick(), tmp_path)
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(run.failed["square"])


def test_a_part_brings_its_own_presets(toy):
    quick, paper = toy.presets["quick"], toy.presets["paper"]
    assert type(quick) is type(paper)
    assert (quick.mean.networks, paper.mean.networks) == (6, 30)
    assert list(type(quick).model_fields) == ["seed", "activation", "mean", "square"]


def test_a_part_with_other_presets_than_the_study_is_refused(toy):
    odd = replace(toy_study.MEAN, presets={"quick": toy_study.MeanSettings()})
    with pytest.raises(InputError, match="part mean has the presets quick, the study quick, paper"):
        replace(toy, parts=(odd,))


def test_two_parts_of_one_name_are_refused(toy):
    with pytest.raises(InputError, match="two parts are called mean"):
        replace(toy, parts=(toy_study.MEAN, toy_study.MEAN))


def test_a_study_written_as_a_class_is_shown_the_new_form(tmp_path, toy):
    with pytest.raises(InputError, match=r"Drift writes a part as a class.*PART = Part\(name="):

        class Drift(studies.Part):
            name = "drift"

    with pytest.raises(InputError, match=r"Study toy: 'drift' is not a Part.*PART = Part\(name="):
        replace(toy, parts=("drift",))
    (tmp_path / "old.py").write_text("from phasescope.studies import Part, compare\n")
    with pytest.raises(InputError, match=r"no 'compare' any more.*Claim\(id, sentence, source\)") as refused:
        studies.study(f"{tmp_path / 'old.py'}:STUDY")
    assert str(tmp_path / "old.py") in str(refused.value)
    assert str(refused.value).endswith("shows one.")
    assert not str(refused.value).endswith("..")


def test_the_plan_knows_what_is_there_and_writes_nothing(finished, tmp_path, toy, quick):
    plans = studies.plan(toy, quick(), tmp_path / "new")
    assert [(each.part.name, len(each.tasks), len(each.todo)) for each in plans] == [
        ("mean", 12, 12),
        ("square", 5, 5),
    ]
    assert plans[0].seconds == pytest.approx(12 * 0.002)
    assert plans[0].memory == 1000
    assert not (tmp_path / "new").exists()
    assert [len(each.todo) for each in studies.plan(toy, quick(), finished[0])] == [0, 0]


@pytest.mark.parametrize(
    ("seconds", "memory", "cores", "free", "workers"),
    [
        ([0.1] * 20, 0, 8, 1e9, 1),  # shorter than starting a process
        ([10.0] * 20, 0, 8, 1e9, 8),
        ([10.0] * 20, 400e6, 8, 1e9, 2),
        ([10.0] * 20, 4e9, 8, 1e9, 1),
        ([10.0] * 3, 0, 8, 1e9, 3),
    ],
)
def test_workers_are_started_where_they_shorten_the_wait(toy, seconds, memory, cores, free, workers):
    tasks = tuple(studies_task(number, length, int(memory)) for number, length in enumerate(seconds))
    plans = [studies.PartPlan(toy.parts[0], tasks, tasks)]
    assert studies.fitting_workers(plans, cores, free) == workers


def studies_task(number, seconds, memory):
    return Task("toy", "mean", {"x": number}, seconds=seconds, memory=memory)
