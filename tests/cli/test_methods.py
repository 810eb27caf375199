"""``gclrec methods`` and the pages that are derived from the code."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from reference import PAGES

from gclrec.settings.methods import METHODS
from gclrec.settings.methods_table import METHOD_COLUMNS, method_rows

from .conftest import Outcome


def test_every_method_is_listed(gclrec: Callable[..., Outcome]) -> None:
    outcome = gclrec("methods")
    assert outcome.code == 0
    assert all(name in outcome.out for name in METHODS)
    assert all(column in outcome.out for column in METHOD_COLUMNS)


def test_json_has_one_row_a_method(gclrec: Callable[..., Outcome]) -> None:
    rows = {row["method"]: row for row in gclrec("methods", "--json").values["methods"]}
    assert list(rows) == list(METHODS)
    assert all(set(row) == set(METHOD_COLUMNS) for row in rows.values())
    assert rows["sgl"]["views"] == METHODS["sgl"].settings["aug"]
    assert rows["sgl"]["ssl"] == "infonce"
    assert rows["xsimgcl"]["ssl"] == "cross_layer"
    assert (rows["mf"]["encoder"], rows["mf"]["loss"], rows["mf"]["ssl"]) == ("mf", "bpr", "-")
    assert {rows["gf_cf"][column] for column in METHOD_COLUMNS[1:-1]} == {"-"}
    assert all(row["source"] == METHODS[name].source for name, row in rows.items())


@pytest.mark.parametrize("name", PAGES)
def test_what_is_derived_is_up_to_date(name: str) -> None:
    path, page = PAGES[name]
    assert path.read_text(encoding="utf-8") == page(), "run: python scripts/reference.py"
    assert len(method_rows()) == len(METHODS)
