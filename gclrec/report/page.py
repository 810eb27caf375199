"""Renders the HTML and Markdown templates of the reports."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gclrec import __version__
from gclrec.report.charts import SERIES, VARIABLES


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("gclrec.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, /, **values: Any) -> str:
    """Return a file of ``report/templates``, filled in; in HTML every value is escaped.

    Args:
        template: name of the file.
        values: what the template reads, by name.
    """
    fixed = {"version": __version__, "variables": VARIABLES, "num_colours": len(SERIES)}
    return _environment().get_template(template).render(**fixed, **values)
