"""``gclrec methods`` and docs/methods.md say what the table of methods holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gclrec as package
from gclrec.settings.methods import METHODS
from gclrec.settings.methods_table import COLUMNS, method_rows, methods_page

from .conftest import Outcome

PAGE = Path(package.__file__).parent.parent / "docs" / "methods.md"


def test_every_method_is_listed(gclrec: Callable[..., Outcome]) -> None:
    outcome = gclrec("methods")
    assert outcome.code == 0
    assert all(name in outcome.out for name in METHODS)
    assert all(column in outcome.out for column in COLUMNS)


def test_json_has_one_row_a_method(gclrec: Callable[..., Outcome]) -> None:
    rows = {row["method"]: row for row in gclrec("methods", "--json").values["methods"]}
    assert list(rows) == list(METHODS)
    assert all(set(row) == set(COLUMNS) for row in rows.values())
    assert rows["sgl"]["views"] == METHODS["sgl"].settings["aug"]
    assert rows["sgl"]["ssl"] == "infonce"
    assert rows["xsimgcl"]["ssl"] == "cross_layer"
    assert (rows["mf"]["encoder"], rows["mf"]["loss"], rows["mf"]["ssl"]) == ("mf", "bpr", "-")
    assert {rows["gf_cf"][column] for column in COLUMNS[1:-1]} == {"-"}
    assert all(row["source"] == METHODS[name].source for name, row in rows.items())


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == methods_page(), "run: python scripts/methods_page.py"
    assert len(method_rows()) == len(METHODS)
