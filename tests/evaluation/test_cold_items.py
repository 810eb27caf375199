"""Lengths of predicted vectors: the formula, and data whose right answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation import evaluate
from gclrec.evaluation.cold_items import ColdItems
from gclrec.evaluation.scoring import SCORINGS, Scoring
from tests.training.test_training import pairs_of

USERS, ITEMS = 200, 120
COLD = torch.arange(ITEMS) % 3 == 0


def drawn() -> Embeddings:
    generator = torch.Generator().manual_seed(3)
    users, items = (torch.randn(n, 6, generator=generator) for n in (USERS, ITEMS))
    return Embeddings(users, items * torch.randn(ITEMS, 1, generator=generator).exp())


def split_of(best: torch.Tensor) -> Split:
    """Return a split whose validation pairs are the best items of each user; a third of the items is cold."""
    warm = np.flatnonzero(~COLD.numpy())
    train = pairs_of(USERS, ITEMS, np.zeros(len(warm), dtype=np.int64), warm)
    user = np.repeat(np.arange(1, USERS), best.shape[1])
    valid = pairs_of(USERS, ITEMS, user, best[1:].numpy().reshape(-1))
    return Split(train, valid, valid.select(np.zeros(0, dtype=np.int64)), "given")


@pytest.mark.parametrize("score", SCORINGS)
def test_lengths_are_their_formula(score: str) -> None:
    raw, cold = drawn(), ColdItems(COLD, 3.0)
    plain, scoring = Scoring(score), Scoring(score, cold=cold)
    assert torch.allclose(scoring(raw).items, plain(raw).items)  # until something is chosen
    cold.exponent.fill_(0.3)
    cold.scale.fill_(2.5)
    found, expected = scoring(raw).items, plain(raw).items
    for item in range(ITEMS):
        own = raw.items[item]
        wanted = 2.5 * own * own.norm() ** (0.3 - 1) if COLD[item] else expected[item]
        torch.testing.assert_close(found[item], wanted)
    assert set(scoring.state_dict()) - set(plain.state_dict()) == {
        f"cold.{name}" for name in ("exponent", "scale", "l2")
    }


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_the_order_that_fits_validation_is_chosen(exponent: float) -> None:
    """And the penalty whose predictions are right; those of the others are noise."""
    raw, cold = drawn(), ColdItems(COLD, 3.0)
    noise = drawn().items[torch.randperm(ITEMS, generator=torch.Generator().manual_seed(1))]
    unit = torch.nn.functional.normalize(raw.items, dim=1)
    scores = raw.users @ (unit * raw.items.norm(dim=1, keepdim=True) ** exponent).T
    split = split_of(scores.masked_fill(~COLD, -torch.inf).topk(5, 1).indices)
    cold.order(lambda l2: raw if l2 == 10.0 else Embeddings(raw.users, noise), split, "all/recall@5")
    assert (float(cold.l2), float(cold.exponent)) == (10.0, exponent)


@pytest.mark.parametrize("scale", [0.5, 3.0])
def test_the_place_that_fits_validation_is_chosen(scale: float) -> None:
    raw, cold = drawn(), ColdItems(COLD, 3.0)
    cold.exponent.fill_(1.0)
    wanted = torch.where(COLD[:, None], scale * raw.items, raw.items)
    split = split_of((raw.users @ wanted.T).topk(8, 1).indices)
    cold.place(raw, split, "all/recall@8")
    scoring = Scoring("dot", cold=cold)
    assert float(cold.scale) == pytest.approx(scale, rel=0.15)
    how = {"ks": (8,), "metrics": ("recall",)}
    assert evaluate(*scoring(raw), split.train, split.valid, **how).values["all/recall@8"] > 0.95


def test_without_cold_validation_pairs_nothing_is_chosen() -> None:
    raw, cold = drawn(), ColdItems(COLD, 3.0)
    split = split_of((raw.users @ raw.items.T).masked_fill(COLD, -torch.inf).topk(5, 1).indices)
    for each in (cold, ColdItems(torch.zeros(ITEMS, dtype=torch.bool), 3.0)):
        each.order(lambda _: raw, split, "all/recall@5")
        each.place(raw, split, "all/recall@5")
        assert not each.chosen
    assert (float(cold.scale), float(cold.l2)) == (1.0, 3.0)
