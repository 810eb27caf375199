"""Tables of what was shown and not clicked: raw ids in, numbered pairs out, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.data.io.columns import Columns
from gclrec.data.io.readers import read_exposed

TRAIN = Interactions(
    Vocabulary(pl.Series(["ann", "bob", "cid"])),
    Vocabulary(pl.Series([10, 20, 30, 40])),
    np.array([0, 0, 1]),
    np.array([0, 1, 3]),
)


def pairs(path: Path, **options: object) -> list[tuple[int, int]]:
    found = read_exposed(path, TRAIN, **options)
    assert (found.users, found.items) == (TRAIN.users, TRAIN.items)
    return list(zip(found.user.tolist(), found.item.tolist(), strict=True))


def test_raw_ids_are_numbered_and_repeated_pairs_count_once(tmp_path: Path) -> None:
    path = tmp_path / "shown.csv"
    path.write_text("user_id,item_id,timestamp\nbob,10,never\nann,30,5\nbob,10,7\ncid,40,8\n")
    assert pairs(path) == [(0, 2), (1, 0), (2, 3)]  # and times are not looked at
    pl.DataFrame({"who": ["ann"], "what": [40]}).write_parquet(tmp_path / "shown.parquet")
    assert pairs(tmp_path / "shown.parquet", columns=Columns(user="who", item="what")) == [(0, 3)]


def test_unknown_ids_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "shown.csv"
    path.write_text("user,item\nann,30\ndan,10\nbob,99\nann,40\n")
    with pytest.warns(InputWarning, match=r"2 of 4 pairs .* \(such as 'dan', 10\)"):
        assert pairs(path) == [(0, 2), (0, 3)]


def test_training_pairs_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "shown.csv"
    path.write_text("user,item\nann,10\nann,40\nbob,40\n")
    with pytest.warns(InputWarning, match="2 pairs left out: they are training pairs"):
        assert pairs(path) == [(0, 3)]


@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
def test_a_table_of_no_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shown.csv"
    path.write_text("user,item\nann,10\ndan,40\n")
    with pytest.raises(InputError, match=r"shown\.csv: no pair"):
        read_exposed(path, TRAIN)
    with pytest.raises(InputError, match="nowhere"):
        read_exposed(tmp_path / "nowhere.csv", TRAIN)
