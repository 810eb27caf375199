"""``gclrec data expand``: a table of about the size asked for, written whole or not at all."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_the_table_has_about_the_rows_asked_for(gclrec, clicks: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"big{suffix}"
    told = gclrec("data", "expand", clicks, "--factor", 4, "--text-ids", "--out", out, "--json").values
    table = pl.read_parquet(out) if suffix == ".parquet" else pl.read_csv(out, infer_schema=False)
    original = gclrec("data", "describe", clicks, "--json").values
    assert told["interactions"] == len(table)
    assert told["users"] == 4 * original["users"]
    assert abs(len(table) / original["interactions"] - 4) < 0.2
    described = gclrec("data", "describe", out, "--json").values
    assert described["interactions"] == len(table)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((), "give one of --rows N and --factor F"),
        (("--rows", 5, "--factor", 2), "give one of --rows N and --factor F"),
        (("--factor", 0.5), "--factor: found 0.5, expected at least 1"),
        (("--rows", 2), "--rows: found 2, expected at least"),
    ],
)
def test_bad_sizes_leave_nothing(gclrec, clicks: Path, tmp_path: Path, given, said: str) -> None:
    assert said in gclrec("data", "expand", clicks, *given, "--out", tmp_path / "big.parquet").error
    assert not list(tmp_path.iterdir())
