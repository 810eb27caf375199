"""Warm start: ids keep their vectors, new ones get what neighbours predict, a tenth of the steps does."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import gclrec
from gclrec.api import Run, resume
from gclrec.common.errors import InputError
from gclrec.data.interactions import Interactions
from gclrec.encoders import CONVOLUTIONS
from gclrec.recall.ridge import Ridge
from gclrec.runs.checkpoint import load_state
from gclrec.runs.folder import RunFolder
from gclrec.runs.reading import PARTS
from gclrec.settings.budget import warm_budget
from gclrec.training.fit import new_trainer
from gclrec.training.warm_start import WarmStart

from .test_training import StopAfter

QUICK: dict[str, Any] = {"dim": 8, "num_layers": 2, "batch_size": 256, "metrics": ("recall",), "loss": "bpr"}


def two_days() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return clicks of two tastes; the second day has new users and items and lacks some of the first."""
    random = np.random.default_rng(8)
    user = np.repeat(np.arange(80), 16)
    item = random.integers(0, 30, len(user)) * 2 + user % 2
    table = pl.DataFrame({"user": [f"u{n}" for n in user], "item": item}).unique(maintain_order=True)
    number = pl.col("user").str.slice(1).cast(pl.Int64)
    first = table.filter((number < 60) & (pl.col("item") < 52))
    return first, table.filter((number >= 5) & (pl.col("item") > 3))


def encoder_state(run: Path) -> dict[str, torch.Tensor]:
    state = load_state(RunFolder.open(run).best_checkpoint)[0]
    return {name.removeprefix("encoder."): x for name, x in state.items() if name.startswith("encoder.")}


def begun(run: Run, former: Path) -> dict[str, torch.Tensor]:
    """Return the state of the encoder that a run begins with."""
    start = WarmStart.read(former, run.config)
    trainer = new_trainer(run.config, run.split.train, start=start)
    return trainer.model.encoder.state_dict()


SETTINGS = {
    "lightgcn": {"layer_weights": "learned"},
    "items": {"user_vectors": "items"},
    "mf": {"encoder": "mf"},
    "egcf": {"encoder": "egcf"},
    "two_tower": {"encoder": "two_tower", "history": "mean", "aug": "none"},
    **{name: {"encoder": name} for name in list(CONVOLUTIONS)[:1]},
}


@pytest.mark.parametrize("kind", SETTINGS)
def test_vectors_are_matched_by_id_and_predicted_for_new_ones(kind: str, tmp_path: Path) -> None:
    first, second = two_days()
    settings = {**QUICK, **SETTINGS[kind]}
    before = gclrec.fit(first, folder=tmp_path / "a", epochs=20, **settings)
    run = gclrec.fit(second, folder=tmp_path / "b", start_from=str(tmp_path / "a"))
    assert run.config.encoder == before.config.encoder
    assert (run.config.epochs, run.config.dim) == (2, 8)  # its settings, and a tenth of its epochs
    old, new = encoder_state(tmp_path / "a"), begun(run, tmp_path / "a")
    assert old.keys() == new.keys()
    train, former = run.split.train, before.split.train
    start = {"items": old["items"].double().numpy()}
    matrix = np.zeros((former.num_users, former.num_items))
    matrix[former.user, former.item] = 1
    degrees = {"users": matrix.sum(1, keepdims=True), "items": matrix.sum(0)[:, None]}
    start["users"] = matrix @ start["items"] / np.sqrt(np.maximum(degrees["users"], 1))
    if "users" in old:
        start["users"] = old["users"].double().numpy()
    for side, other, pairs in (
        ("users", "items", (train.user, train.item)),
        ("items", "users", (train.item, train.user)),
    ):
        if side not in new:
            continue
        links = matrix if side == "users" else matrix.T
        known = start[other] * (degrees[other] > 0)
        received = links @ known / np.sqrt(np.maximum(degrees[side], 1))
        warm = degrees[side][:, 0] > 0
        ridge = Ridge.fit(received[warm], start[side][warm])
        ids, others = getattr(train, side).ids, getattr(train, other).ids
        places = getattr(former, side).rows(ids)
        theirs = getattr(former, other).rows(others)
        assert (places < 0).sum() > 5
        assert (places >= 0).sum() > 5
        for row, place in enumerate(places):
            if place >= 0:
                assert torch.equal(new[side][row], old[side][place])
                continue
            near = np.unique(theirs[pairs[1][pairs[0] == row]])
            near = near[near >= 0]
            near = near[degrees[other][near, 0] > 0]
            told = start[other][near].sum(0) / np.sqrt(max(len(near), 1))
            expected = ridge(told[None].astype(np.float32))[0]
            np.testing.assert_allclose(new[side][row].numpy(), expected, atol=1e-5)
    for name in old.keys() - {"users", "items"}:
        assert torch.equal(old[name], new[name])
    if kind == "lightgcn":
        assert "layer_logits" in old


def test_a_tenth_of_the_epochs_does_what_all_of_them_do(tmp_path: Path) -> None:
    """Beside a cold start with as few, which does not."""
    first, second = two_days()
    gclrec.fit(first, folder=tmp_path / "a", epochs=40, learning_rate=0.02, **QUICK)
    how = {"learning_rate": 0.02, "valid_share": 0.1, **QUICK}
    cold = gclrec.fit(second, epochs=4, **how)
    full = gclrec.fit(second, epochs=40, **how)
    warm = gclrec.fit(second, start_from=str(tmp_path / "a"), learning_rate=0.02, valid_share=0.1)
    assert warm.config.epochs == 4
    found = {name: run.metrics["all"]["recall@10"] for name, run in (("c", cold), ("f", full), ("w", warm))}
    assert found["w"] > found["c"] + 0.3 * (found["f"] - found["c"]), found
    assert found["f"] > found["c"] + 0.05, found


@pytest.mark.parametrize("name", ["random", "temporal", "leave_one_out"])
def test_no_pair_that_was_trained_on_is_validated_or_tested_on(name: str, tmp_path: Path) -> None:
    """And a random split is carried on, so that its parts stay as large over many days."""
    table = two_days()[1].with_columns(time=pl.int_range(pl.len()))
    days = [table.head(len(table) // 2 + 60 * day) for day in range(3)]
    how = {**QUICK, "split": name, "epochs": 2}
    runs = [gclrec.fit(days[0], folder=tmp_path / "0", **how)]
    runs += [
        gclrec.fit(days[day], folder=tmp_path / str(day), start_from=str(tmp_path / str(day - 1)))
        for day in (1, 2)
    ]
    for before, after in itertools.pairwise(runs):
        parts = [{part: raw_pairs(getattr(run.split, part)) for part in PARTS} for run in (before, after)]
        assert not parts[0]["train"] & (parts[1]["valid"] | parts[1]["test"])
        assert sum(map(len, parts[1].values())) == len(set().union(*parts[1].values()))
        assert set().union(*parts[0].values()) < set().union(*parts[1].values())
        if name == "random":
            assert parts[0]["valid"] <= parts[1]["valid"]
            assert parts[0]["test"] <= parts[1]["test"]
            assert parts[1]["train"] - parts[0]["train"]
    plain = gclrec.fit(days[2], **how)
    for part in PARTS:
        share = len(getattr(runs[2].split, part)) / len(getattr(plain.split, part))
        assert share > (0.9 if name == "random" else 0.3)


def raw_pairs(pairs: Interactions) -> set[tuple[str, int]]:
    users, items = pairs.users.raw(pairs.user), pairs.items.raw(pairs.item)
    return set(zip(users.to_list(), items.to_list(), strict=True))


def test_a_chain_of_days_keeps_its_budget(tmp_path: Path) -> None:
    assert warm_budget({"epochs": 25, "dim": 4}) == {"epochs": 3, "dim": 4}
    assert warm_budget({"steps": 1600}) == {"steps": 160}
    assert warm_budget({"epochs": 3, "start_from": "runs/first"}) == {"epochs": 3}
    first, second = two_days()
    gclrec.fit(first, folder=tmp_path / "0", epochs=10, **QUICK)
    for day in ("1", "2"):
        run = gclrec.fit(second, folder=tmp_path / day, start_from=str(tmp_path / str(int(day) - 1)))
        assert run.config.epochs == 1
        assert run.config.start_from == str(tmp_path / str(int(day) - 1))
    again = gclrec.fit(second, start_from=str(tmp_path / "2"), epochs=2)  # what is given goes first
    assert again.config.epochs == 2
    stepped = gclrec.fit(second, start_from=str(tmp_path / "2"), steps=3)
    assert (stepped.config.epochs, stepped.config.steps) == (None, 3)


@pytest.mark.parametrize("refit", [False, True])
def test_an_interrupted_one_goes_on_to_the_same_numbers(refit: bool, tmp_path: Path) -> None:
    """Without the former run where nothing begins anew; a loaded run never needs it."""
    first, second = two_days()
    former = tmp_path / "a"
    gclrec.fit(first, folder=former, epochs=5, **QUICK)
    how = {"start_from": str(former), "epochs": 3, "refit": refit}
    whole = gclrec.fit(second, folder=tmp_path / "whole", **how)
    with pytest.raises(KeyboardInterrupt):
        gclrec.fit(second, folder=tmp_path / "b", callbacks=[StopAfter(2, "select")], **how)
    if not refit:
        shutil.rmtree(former)
    assert resume(tmp_path / "b").figures == whole.figures
    shutil.rmtree(former, ignore_errors=True)
    loaded = gclrec.load_run(tmp_path / "b")
    assert loaded.evaluate().values["all/recall@20"] == whole.figures["all/recall@20"]
    assert gclrec.load_recommender(tmp_path / "b").recommend("u9", 2)


def test_attributes_keep_the_values_that_the_encoder_knows(tmp_path: Path) -> None:
    first, second = two_days()
    first_items = pl.DataFrame(
        {"id": range(52), "taste": [f"t{n % 2}" for n in range(52)], "price": range(52)}
    )
    items = pl.DataFrame({"id": range(60), "taste": [f"t{n % 2 + n // 55}" for n in range(60)]})
    items = items.with_columns(price=pl.int_range(60))
    how = {**QUICK, "epochs": 3, "attributes": "input"}
    gclrec.fit(first, folder=tmp_path / "a", item_attributes=first_items, **how)
    gclrec.fit(second, folder=tmp_path / "b", item_attributes=items, start_from=str(tmp_path / "a"))
    schemas = [RunFolder.open(tmp_path / name).schemas() for name in "ab"]
    assert schemas[0] == schemas[1]
    before, after = (encoder_state(tmp_path / name) for name in "ab")
    assert before.keys() == after.keys()
    assert any("content" in name for name in before)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    first, second = two_days()
    run = str(tmp_path / "a")
    gclrec.fit(first, folder=run, epochs=2, **QUICK)
    for settings, message in (
        ({"dim": 16}, r"cannot start from it: found \d+ x 8 numbers as (users|items), expected \d+ x 16"),
        ({"encoder": "mf"}, "trained with encoder lightgcn, this run has mf"),
        ({"user_vectors": "items"}, "trained with user_vectors free, this run has items"),
        ({"layer_weights": "learned"}, "found none numbers as layer_logits, expected 3"),
        ({"baseline": "ease"}, "--start-from: ease starts from nothing"),
    ):
        with pytest.raises(InputError, match=message):
            gclrec.fit(second, folder=tmp_path / "b", start_from=run, **settings)
        assert not (tmp_path / "b").exists()
    other = second.with_columns(item=pl.format("i{}", "item"))
    with pytest.raises(InputError, match="its items have ids of type Int64, those of today String"):
        gclrec.fit(other, start_from=run)
    with pytest.raises(InputError, match="none of its items is among those of today"):
        gclrec.fit(second.with_columns(pl.col("item") + 1000), start_from=run)
    gclrec.fit(first, folder=tmp_path / "ease", baseline="ease")
    with pytest.raises(InputError, match="ease has no training that could be gone on with"):
        gclrec.fit(second, start_from=str(tmp_path / "ease"))
    for study in (gclrec.compare, gclrec.tune):
        with pytest.raises(InputError, match=r"^--start-from: .*; leave it out"):
            study(second, start_from=run, **QUICK)
    with pytest.raises(InputError, match="no run folder to start from"):
        gclrec.fit(second, start_from=str(tmp_path / "nothing"))


def test_a_run_that_did_not_finish_is_refused_in_one_line(tmp_path: Path) -> None:
    first, second = two_days()
    with pytest.raises(KeyboardInterrupt):
        gclrec.fit(first, folder=tmp_path / "a", epochs=3, callbacks=[StopAfter(2, "select")], **QUICK)
    with pytest.raises(InputError, match="has no embeddings, since its training did not finish"):
        gclrec.fit(second, start_from=str(tmp_path / "a"))
