"""Sentences as HTML."""

import pytest

from phasescope.report.templating import prose, soft_error


def test_calls_become_code_and_text_is_escaped():
    text = "Use <b>, or nn.init.normal_(w, std=(1 / fan_in) ** 0.5) and nn.init.zeros_(b)."
    assert prose(text) == (
        "Use &lt;b&gt;, or <code>nn.init.normal_(w, std=(1 / fan_in) ** 0.5)</code> and "
        "<code>nn.init.zeros_(b)</code>."
    )


def test_code_is_escaped_too():
    assert prose("torch.where(z > <1>, 0)") == "<code>torch.where(z &gt; &lt;1&gt;, 0)</code>"


def test_a_number_keeps_its_error_on_the_line():
    assert prose("chi = 0.5 ± 0.1") == "chi\u00a0=\u00a00.5\u00a0±\u00a00.1"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("0.28 ± 0.01", '0.28<span class="error"> ± 0.01</span>'),
        ("(3.2 ± 0.4)×10⁻⁹", '(3.2<span class="error"> ± 0.4</span>)×10⁻⁹'),
        ("<i>", "&lt;i&gt;"),
    ],
)
def test_the_error_is_set_apart(text, html):
    assert soft_error(text) == html
