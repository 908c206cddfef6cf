"""``phasescope critical`` on names and on a user's own functions."""

import math

import pytest

from phasescope.theory import overflow_depth

KEYS = [
    *("activation", "universality_class", "stable", "C_W", "C_b", "K", "a1", "b1", "reason"),
    *("instead", "first_layer_kernel", "float16"),
]


def test_json_has_the_documented_keys_and_the_known_numbers(phasescope):
    answer = phasescope("critical", "relu", "--json")
    assert answer.code == 0
    assert answer.err == ""
    assert list(answer.json) == KEYS
    assert answer.json["universality_class"] == "scale-invariant"
    assert answer.json["C_W"] == pytest.approx(2.0, abs=1e-12)
    assert answer.json["C_b"] == 0.0
    assert answer.json["K"] is None


def test_gelu_has_the_published_critical_point(phasescope):
    # Roberts, Yaida and Hanin 2022, section 5.3.3.
    answer = phasescope("critical", "gelu", "--json").json
    assert answer["universality_class"] == "half-stable"
    assert answer["C_b"] == pytest.approx(0.17292239, abs=1e-6)
    assert answer["C_W"] == pytest.approx(1.98305826, abs=1e-6)
    assert answer["K"] == pytest.approx(3.561553, abs=1e-5)


def test_no_critical_point_is_an_answer_with_its_reason(phasescope):
    answer = phasescope("critical", "repu2", "--json")
    assert answer.code == 0
    assert answer.json["universality_class"] == "none"
    assert answer.json["C_W"] is None
    assert "chi_par" in answer.json["reason"]
    text = phasescope("critical", "repu2")
    assert text.out.startswith("repu2: no critical initialisation\n")
    assert "chi_par" in text.out


def test_what_to_use_instead_stands_in_text_and_json(phasescope):
    answer = phasescope("critical", "repu2", "--json").json
    first, *others = answer["instead"].splitlines()
    assert first.startswith("mrepu2:")
    assert "K_1 = 0.00278 for 10 layers" in first
    assert [word for word in ("LayerNorm", "Residual", "Dense") if word not in "".join(others)] == []
    text = phasescope("critical", "repu2").out
    assert "  instead      mrepu2: its K* = 0" in text
    assert max(map(len, text.splitlines())) <= 80
    assert phasescope("critical", "tanh", "--json").json["instead"] is None


def test_a_point_that_repels_comes_with_its_first_kernels_and_the_layer_that_overflows(phasescope):
    answer = phasescope("critical", "mrepu2", "--json").json
    # K_1 = 1/(2 a1 L) with a1 = 18.
    assert answer["first_layer_kernel"] == {"10": pytest.approx(1 / 360), "50": pytest.approx(1 / 1800)}
    assert [at["K1"] for at in answer["float16"]] == pytest.approx([1.0, 1 / 360])
    assert [at["layer"] for at in answer["float16"]] == [
        overflow_depth("mrepu2", 1.0),
        overflow_depth("mrepu2", 1 / 360),
    ]
    out = phasescope("critical", "mrepu2").out
    assert "K_1 = 0.00278 for 10 layers, 0.000556 for 50" in out
    assert f"nn.init.normal_(first.weight, std={math.sqrt(1 / 360):.4g} / norm)" in out
    tanh = phasescope("critical", "tanh", "--json").json
    assert tanh["first_layer_kernel"] is None
    assert tanh["float16"] is None


def test_text_has_numbers_to_copy(phasescope):
    out = phasescope("critical", "gelu").out
    assert "half-stable" in out
    assert f"std={math.sqrt(1.98305826):.5g}" in out
    assert f"nn.init.normal_(layer.bias, std={math.sqrt(0.17292239):.4g}" in out
    assert "nn.init.zeros_(layer.bias)" in phasescope("critical", "tanh").out


@pytest.mark.parametrize("name", ["squash", "Squash", "make_squash", "builtin"])
def test_a_module_its_class_and_its_factory_are_all_tanh(phasescope, models, name):
    answer = phasescope("critical", f"{models}:{name}", "--json").json
    assert answer["universality_class"] == "K*=0"
    assert answer["C_W"] == pytest.approx(1.0, abs=1e-9)
    assert answer["a1"] == pytest.approx(-2.0, abs=1e-6)


def test_a_users_function_is_softplus(phasescope, models):
    own = phasescope("critical", f"{models}:softplus_like", "--json").json
    known = phasescope("critical", "softplus", "--json").json
    assert own["universality_class"] == known["universality_class"]
    assert own["activation"] != ""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("gellu", ["'gellu'", "gelu"]),
        ("models.py:normalise", ["elementwise"]),
        ("models.py:gives_nan", ["models.py:gives_nan", "nan"]),
        ("models.py:nrmalise", ["'nrmalise'", "normalise"]),
        ("models.py:number", ["models.py:number", "an int"]),
        ("model.py:normalise", ["no file model.py", "models.py"]),
        ("models.py", ["which function", "with_batch"]),
        ("models.py:a:b", ["FILE.py:function"]),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(phasescope, models, spec, words):
    answer = phasescope("critical", spec)
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("phasescope: ")
    assert answer.err.count("\n") == 1
    assert [word for word in words if word not in answer.err] == []


def test_debug_shows_the_traceback(phasescope):
    answer = phasescope("critical", "gellu", "--debug")
    assert answer.code == 2
    assert "Traceback" in answer.err


@pytest.mark.parametrize("seed", ["-1", "4294967296"])
def test_a_seed_out_of_range_is_named(phasescope, seed):
    answer = phasescope("critical", "tanh", "--seed", seed)
    assert answer.code == 2
    assert f"--seed {seed}" in answer.err
