"""Formulas as MathML, which browsers draw by themselves: no script, no network."""

from __future__ import annotations

from docutils import nodes
from latex2mathml.converter import convert


def drawn(text, display):
    """Return a formula as MathML; a bar is a fence, which has no space around it."""
    found = convert(text, display=display)
    for bar in ("&#x0007C;", "|"):
        for tag in ("<mo>", '<mo stretchy="false">'):
            fence = '<mo stretchy="false" lspace="0" rspace="0">'
            found = found.replace(f"{tag}{bar}</mo>", f"{fence}{bar}</mo>")
    return found


def inline(writer, node):
    writer.body.append(drawn(node.astext(), "inline"))
    raise nodes.SkipNode


def block(writer, node):
    writer.body.append(f'<div class="math">{drawn(node.astext(), "block")}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
