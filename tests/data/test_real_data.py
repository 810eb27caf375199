"""The stored data sets, where they are: their published counts and splits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gclrec.data.catalog import loader as catalog
from gclrec.data.catalog.entries import CATALOG
from gclrec.data.catalog.loader import load
from gclrec.data.splits import make_split
from gclrec.data.statistics import item_dispersion

REAL = Path(os.environ.get(catalog.VARIABLE, "")) if os.environ.get(catalog.VARIABLE) else None
STORED = [name for name, entry in CATALOG.items() if not entry.synthetic]


@pytest.mark.filterwarnings("ignore:.*not in train:gclrec.common.errors.InputWarning")
@pytest.mark.filterwarnings("error:.*another version:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize("name", STORED)
def test_real_data_has_the_published_counts(name: str) -> None:
    entry = CATALOG[name]
    if REAL is None or not (REAL / (entry.folder or name)).is_dir():
        pytest.skip(f"{name} is not in ${catalog.VARIABLE}")
    dataset = load(name)
    pairs = dataset.interactions
    counts = ((pairs.user_degrees() > 0).sum(), (pairs.item_degrees() > 0).sum(), len(pairs))
    assert counts == (entry.users, entry.items, entry.interactions)
    split = make_split(dataset)
    assert split.name == entry.default_split
    assert min(len(split.train), len(split.valid), len(split.test)) > 0
    for table, vocabulary in ((dataset.user_attributes, pairs.users), (dataset.item_attributes, pairs.items)):
        if table is not None:
            assert (vocabulary.rows(table["id"]) >= 0).sum() > 0.75 * len(vocabulary)


@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
@pytest.mark.parametrize(
    ("name", "train", "valid", "test", "cold"),
    [
        ("gowalla", 719_081, 91_047, 217_242, 0),
        ("yelp2018", 1_093_508, 143_751, 324_147, 0),
        ("citeulike-a-cold", 164_210, 13_037, 27_739, 3396),
    ],
)
def test_published_splits(name: str, train: int, valid: int, test: int, cold: int) -> None:
    if REAL is None or not (REAL / (CATALOG[name].folder or name)).is_dir():
        pytest.skip(f"{name} is not in ${catalog.VARIABLE}")
    split = make_split(load(name))
    assert (len(split.train), len(split.valid), len(split.test)) == (train, valid, test)
    published = split.refit()
    assert len(published.train) == train + valid
    if cold:
        assert len(split.cold_items) == cold
    else:
        assert len(published.cold_items) == 0  # every item is in the published train part


@pytest.mark.filterwarnings("ignore:.*not in train:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize(("name", "spread"), [("gowalla", 1.79), ("yelp2018", 4.08), ("sparse-yelp", 0.99)])
def test_not_every_published_test_part_was_drawn_at_random(name: str, spread: float) -> None:
    if REAL is None or not (REAL / (CATALOG[name].folder or name)).is_dir():
        pytest.skip(f"{name} is not in ${catalog.VARIABLE}")
    parts = load(name).parts
    assert item_dispersion(parts["train"], parts["test"]) == pytest.approx(spread, abs=0.01)
    assert item_dispersion(parts["train"], parts["valid"]) == pytest.approx(1.0, abs=0.02)
