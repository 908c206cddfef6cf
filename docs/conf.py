"""Sphinx configuration: the examples are executed at build time, so a broken tutorial breaks the build."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, os.path.abspath("."))

import house
import links
import make_flower
import tables

tables.write()
house.write()
make_flower.write_page()

project = "phasescope"
author = "The phasescope developers"
copyright = "2026, the phasescope developers"
version = release = "0.1.0"

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx_copybutton",
    "sphinx_design",
    "mathml",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = [
    "_build",
    "tables",
    "studies/*/*.rst",
    "sg_execution_times.rst",
    "gallery/sg_execution_times.rst",
]
html_theme = "pydata_sphinx_theme"
html_static_path = ["_static"]
html_css_files = ["page.css"]
html_title = "phasescope"
html_math_renderer = "mathml"
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "pygments_light_style": "tango",
    "header_links_before_dropdown": 7,
    "navigation_depth": 3,
    "show_nav_level": 2,
    "secondary_sidebar_items": {"index": [], "**": ["page-toc"]},
}
html_sidebars = {"index": []}
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
intersphinx_mapping = links.write()

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False


def shown_figure(block, block_vars, gallery_conf):
    """Save a matplotlib figure that a block ends with and that pyplot does not know of."""
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    from phasescope import plotting

    last = block[1].strip().splitlines()[-1].strip()
    figure = block_vars["example_globals"].get(last)
    if not isinstance(figure, Figure):
        return ""
    path = next(block_vars["image_path_iterator"])
    with plotting.style():
        figure.savefig(path, dpi=120, facecolor="white", transparent=False)
    return figure_rst([path], gallery_conf["src_dir"])


sphinx_gallery_conf = {
    "image_scrapers": ("matplotlib", shown_figure),
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/[a-z]\w*\.py$",
    "ignore_pattern": r"__init__\.py",
    "abort_on_example_error": True,
    "only_warn_on_example_error": False,
    "capture_repr": (),
    "show_memory": False,
    "remove_config_comments": True,
    "min_reported_time": 1e9,
    "thumbnail_size": (760, 480),
    "within_subsection_order": "ExampleTitleSortKey",
    "parallel": 2,
}
suppress_warnings = ["config.cache"]
