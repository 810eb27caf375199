"""Settings of the site: ``sphinx-build -W docs docs/_build``."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert

import gclrec

project = "gclrec"
author = "the gclrec contributors"
project_copyright = "2026, the gclrec contributors"
version = release = gclrec.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
highlight_language = "text"  # indented blocks are commands and formulas
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a page may be a part of a longer one
autodoc_typehints = "none"  # signatures have them
autodoc_member_order = "bysource"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"gclrec {release}"
html_static_path = ["_static"]
html_css_files = ["gclrec.css"]
html_math_renderer = "mathml"


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Formulas become MathML: no script, no network, and a wrong one ends the build."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
