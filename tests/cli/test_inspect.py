"""``phasescope inspect`` on a user's files."""

import json
from importlib import resources

import numpy as np
import pytest
import torch

from json_schema import violations

SCHEMA = json.loads(resources.files("phasescope.report").joinpath("schema.json").read_text())


def written(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_table_sentence_and_the_path_of_the_page(phasescope, models, tmp_path):
    answer = phasescope("inspect", "models.py:with_batch")
    assert answer.code == 0
    lines = answer.out.rstrip().splitlines()
    assert lines[0] == "with_batch"
    assert lines[-1] == "page: phasescope-inspect/report.html"
    assert "chi_perp" in answer.out
    content = json.loads((tmp_path / "phasescope-inspect" / "report.json").read_text())
    assert content["sentence"] in answer.out
    assert written(tmp_path / "phasescope-inspect") == ["report.html", "report.json"]


@pytest.mark.usefixtures("no_pictures")
def test_json_is_alone_on_stdout_and_keeps_to_the_schema(phasescope, models):
    answer = phasescope("inspect", "models.py:talkative", "--json", "--out", "out")
    assert answer.code == 0
    assert violations(answer.json, SCHEMA) == []
    assert answer.json["page"] == "out/report.html"
    assert "hello from the user's file" in answer.err


@pytest.mark.usefixtures("no_pictures")
def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(phasescope, models):
    def instruments(seed):
        answer = phasescope("inspect", "models.py:with_batch", "--json", "--seed", seed)
        return answer.json["inspections"][0]["instruments"]

    assert instruments(1) == instruments(1)
    assert instruments(1) != instruments(2)


@pytest.mark.usefixtures("no_pictures")
def test_several_targets_are_side_by_side_with_what_differs_first(phasescope, models):
    answer = phasescope("inspect", "models.py:net", "models.py:wide", "--data", "models.py:batch", "--json")
    assert [each["label"] for each in answer.json["inspections"]] == ["net", "wide"]
    assert "“net”" in answer.json["sentence"] or answer.json["sentence"].startswith("Both")


@pytest.mark.usefixtures("no_pictures")
def test_checkpoints_of_one_model_differ_as_their_weights_do(phasescope, models, tmp_path):
    layers = [torch.nn.Linear(16, 16) for _ in range(5)]
    state = {f"{2 * i}.{k}": v for i, layer in enumerate(layers) for k, v in layer.state_dict().items()}
    torch.save(state, tmp_path / "before.pt")
    torch.save({"state_dict": {key: 10 * value for key, value in state.items()}}, tmp_path / "after.pt")
    targets = [f"models.py:net@{name}.pt" for name in ("before", "after")]
    answer = phasescope("inspect", *targets, "--data", "models.py:batch", "--json")
    assert [each["label"] for each in answer.json["inspections"]] == ["before", "after"]
    kernels = [
        each["instruments"]["propagation"]["variables"]["kernel"]["values"][0]
        for each in answer.json["inspections"]
    ]
    assert kernels[1] == pytest.approx(100 * kernels[0], rel=1e-4)


@pytest.mark.usefixtures("no_pictures")
def test_two_folders_with_the_same_file_names_do_not_mix(phasescope, tmp_path):
    for name, scale in (("one", 1.0), ("two", 5.0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "scale.py").write_text(f"scale = {scale}\n")
        (tmp_path / name / "model.py").write_text(
            "import torch\nfrom scale import scale\n\n\ndef net():\n"
            "    layers = [torch.nn.Linear(8, 8, bias=False) for _ in range(4)]\n"
            "    for layer in layers:\n"
            "        layer.weight.data = scale * torch.eye(8)\n"
            "    return torch.nn.Sequential(*layers), torch.randn(8, 8)\n"
        )
    answer = phasescope("inspect", "one/model.py:net", "two/model.py:net", "--json")
    assert answer.code == 0, answer.err
    ratios = []
    for each in answer.json["inspections"]:
        kernel = each["instruments"]["propagation"]["variables"]["kernel"]["values"]
        ratios.append(kernel[1] / kernel[0])
    assert ratios == pytest.approx([1.0, 25.0], rel=1e-4)


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize("factory", ["training", "seeded"])
def test_loss_and_data_of_a_factory_add_the_stability_of_training(phasescope, models, tmp_path, factory):
    answer = phasescope("inspect", f"models.py:{factory}", "--json", "--seed", 3, "--out", "out")
    (found,) = answer.json["inspections"]
    assert found["instruments"]["stability"]["attrs"]["optimizer"] == "gradient descent"
    assert found["instruments"]["propagation"]["attrs"]["inputs"] == 12
    assert "Stability of training" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("no_pictures")
@pytest.mark.parametrize(("factory", "names"), [("asks", ["property"]), ("asks_twice", ["first", "second"])])
def test_a_property_of_a_factory_adds_the_weights_that_carry_it(phasescope, models, tmp_path, factory, names):
    answer = phasescope("inspect", f"models.py:{factory}", "--json", "--out", "out")
    assert answer.code == 0, answer.err
    (found,) = answer.json["inspections"]
    assert found["instruments"]["synapses"]["coords"]["property"] == names
    assert "Which weights carry a property" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.usefixtures("no_pictures")
def test_without_a_property_nothing_is_said_of_it(phasescope, models):
    answer = phasescope("inspect", "models.py:with_batch")
    assert "property" not in answer.out
    assert "synapses" not in answer.out


@pytest.mark.usefixtures("no_pictures")
def test_without_an_optimiser_the_sharpness_alone_is_measured(phasescope, models):
    answer = phasescope("inspect", "models.py:with_loss")
    assert answer.code == 0
    assert "Stability of training: no optimiser" in answer.out


@pytest.mark.usefixtures("no_pictures")
def test_the_reason_says_how_to_give_loss_and_data(phasescope, models):
    answer = phasescope("inspect", "models.py:with_batch")
    words = " ".join(answer.out.split())  # whatever the lines are broken at
    assert "stability was skipped: give loss and data" in words
    assert "a factory that returns a dictionary with model, loss and data" in words


@pytest.mark.usefixtures("no_pictures")
def test_check_turns_a_problem_into_exit_code_1(phasescope, models):
    (models.parent / "deep.py").write_text(
        "import torch\nfrom torch import nn\n\n\ndef ordered():\n"
        "    torch.manual_seed(0)\n"
        "    layers = [m for _ in range(30) for m in (nn.Linear(16, 16), nn.Tanh())]\n"
        "    return nn.Sequential(*layers), torch.randn(16, 16)\n"
    )
    assert phasescope("inspect", "deep.py:ordered").code == 0
    checked = phasescope("inspect", "deep.py:ordered", "--check")
    assert checked.code == 1
    assert "Ordered" in checked.out


@pytest.mark.usefixtures("no_pictures")
def test_the_batch_of_a_file_is_cast_to_the_model(phasescope, models, tmp_path):
    values = np.random.default_rng(0).standard_normal((12, 16))
    np.save(tmp_path / "batch.npy", values)
    answer = phasescope("inspect", "models.py:net", "--data", "batch.npy", "--json")
    dataset = answer.json["inspections"][0]["instruments"]["propagation"]
    assert dataset["attrs"]["inputs"] == 12
    assert dataset["attrs"]["dtype"] == "float32"


@pytest.mark.usefixtures("no_pictures")
def test_an_array_is_chosen_from_several_by_name(phasescope, models, tmp_path):
    np.savez(tmp_path / "data.npz", x=np.ones((4, 16)), y=np.random.default_rng(0).standard_normal((12, 16)))
    refused = phasescope("inspect", "models.py:net", "--data", "data.npz")
    assert refused.code == 2
    assert "x, y" in refused.err
    assert phasescope("inspect", "models.py:net", "--data", "data.npz:y").code == 0


def test_an_instrument_that_fails_is_named_and_the_exit_code_is_1(phasescope, models, monkeypatch):
    def fails(*args, **options):
        raise ZeroDivisionError("no sequence left")

    monkeypatch.setattr("phasescope.instruments.TrainingStability.applies", fails)
    answer = phasescope("inspect", "models.py:with_batch", "--json")
    assert answer.code == 1
    assert "phasescope: stability failed on with_batch: ZeroDivisionError: no sequence left" in answer.err
    assert violations(answer.json, SCHEMA) == []
    (found,) = answer.json["inspections"]
    assert set(found["failed"]) == {"stability"}
    assert 'raise ZeroDivisionError("no sequence left")' in found["failed"]["stability"]
    assert "stability" not in found["skipped"]


KEPT = 'severity = "problem"\n[propagation]\ninputs = [12, 12]\n'


@pytest.mark.usefixtures("no_pictures")
def test_limits_of_a_file_are_one_line_each_and_the_exit_code(phasescope, models, tmp_path):
    (tmp_path / "kept.toml").write_text(KEPT)
    (tmp_path / "not_kept.toml").write_text(KEPT + "parameters = {min = 1e9}\n")
    kept = phasescope("inspect", "models.py:with_batch", "--check", "kept.toml")
    assert (kept.code, kept.err) == (0, "")
    lines = kept.out.rstrip().splitlines()
    assert lines[-1] == "page: phasescope-inspect/report.html"
    assert lines[-3] == "passed  propagation.inputs: 12 (limit: 12 to 12)"
    assert lines[-4].startswith("passed  findings: ")
    answer = phasescope("inspect", "models.py:with_batch", "--json", "--check", "not_kept.toml")
    assert answer.code == 1
    assert violations(answer.json, SCHEMA) == []
    assert [each["passed"] for each in answer.json["checks"]] == [True, True, False]
    assert answer.json["checks"][2]["limit"] == "at least 1e+09"
    assert answer.json["checks"][2]["label"] == "with_batch"


@pytest.mark.usefixtures("no_pictures")
def test_each_of_several_targets_is_held_to_the_limits(phasescope, models, tmp_path):
    (tmp_path / "limits.toml").write_text('severity = "problem"\n[propagation]\nparameters = {max = 300}\n')
    answer = phasescope(
        *("inspect", "models.py:net", "models.py:wide", "--data", "models.py:batch", "--check", "limits.toml")
    )
    assert answer.code == 1
    assert "\nnet: passed  propagation.parameters: " in answer.out
    assert "\nwide: FAILED  propagation.parameters: " in answer.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--check", "none.toml"], "There is no none.toml"),
        (["--check", "broken.toml"], "broken.toml is no TOML"),
        (["--check", "severity.toml"], "severity.toml: severity: Input should be 'ok'"),
        (
            ["--check", "models.py:with_batch"],
            "a file of limits ends in .toml or .json. Name targets before.",
        ),
        (["--check", "severity.toml", "broken.toml"], "one file of limits, not 2"),
    ],
)
def test_limits_that_cannot_be_read_are_refused_before_anything_is_measured(
    phasescope, models, tmp_path, words, said
):
    (tmp_path / "broken.toml").write_text("[")
    (tmp_path / "severity.toml").write_text('severity = "fine"')
    answer = phasescope("inspect", "models.py:raises", *words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.out == ""


def test_a_limit_on_what_there_is_not_is_refused_and_nothing_is_written(phasescope, models, tmp_path):
    (tmp_path / "limits.json").write_text('{"propagation": {"margins": [0, 1]}}')
    answer = phasescope("inspect", "models.py:with_batch", "--check", "limits.json")
    assert answer.code == 2
    assert "propagation has no 'margins'. Did you mean margin?" in answer.err
    assert written(tmp_path / "phasescope-inspect") == []
