"""Predicted vectors of users: the formula, popularity at its end, and what validation chooses."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.cold_users import USER_PENALTIES, ColdUsers, _first_near_best
from gclrec.evaluation.scoring import SCORINGS, Scoring
from tests.training.test_training import pairs_of

USERS, ITEMS, DIM = 200, 40, 12
COLD = torch.arange(USERS) % 4 == 0
DEGREES = torch.arange(ITEMS).flip(0) ** 2 // 8  # item 0 is the most popular; the last ones are cold


def drawn() -> Embeddings:
    """Return vectors among whose directions there is one that is popularity."""
    generator = torch.Generator().manual_seed(3)
    users, items = (torch.randn(n, DIM, generator=generator) for n in (USERS, ITEMS))
    items[:, 0] = DEGREES / DEGREES.max()
    return Embeddings(users, items)


@pytest.mark.parametrize("score", SCORINGS)
def test_vectors_are_their_formula(score: str) -> None:
    raw, cold = drawn(), ColdUsers(COLD, DEGREES, 1.0)
    plain, scoring = Scoring(score)(raw), Scoring(score, cold_users=cold)
    assert torch.equal(scoring(raw).users, plain.users)  # until something is chosen
    cold.share.fill_(0.7)
    known = (DEGREES > 0).numpy()
    items = plain.items.double().numpy()[known]
    towards = np.linalg.lstsq(items, DEGREES.double().numpy()[known], rcond=None)[0]
    own = np.mean([np.std(items @ user) for user in plain.users[COLD].double().numpy()])
    step = 0.7 * own / np.std(items @ towards) * towards
    expected = plain.users.double().numpy() + COLD.numpy()[:, None] * step
    found = scoring(raw)
    np.testing.assert_allclose(found.users.numpy(), expected, atol=1e-5)
    assert torch.equal(found.items, plain.items)
    assert set(scoring.state_dict()) - set(Scoring(score).state_dict()) == {
        "cold_users.share",
        "cold_users.l2",
    }


def test_a_large_share_is_popularity() -> None:
    cold = ColdUsers(COLD, DEGREES, 1.0)
    users, items = cold.moved(drawn(), 1e6)
    best = (users[COLD] @ items.T).argsort(1, descending=True)[:, :5]
    assert best.tolist() == [[0, 1, 2, 3, 4]] * int(COLD.sum())
    assert torch.equal(users[~COLD], drawn().users[~COLD])


def split_of(best: torch.Tensor) -> Split:
    """Return a split whose validation pairs are the best items of each cold user."""
    rows = np.flatnonzero(COLD.numpy())
    counts = DEGREES.numpy()
    warm = np.resize(np.flatnonzero(~COLD.numpy()), counts.sum())
    train = pairs_of(USERS, ITEMS, warm, np.repeat(np.arange(ITEMS), counts))
    valid = pairs_of(USERS, ITEMS, np.repeat(rows, best.shape[1]), best.numpy()[rows].reshape(-1))
    return Split(train, valid, valid.select(np.zeros(0, dtype=np.int64)), "given")


@pytest.mark.parametrize("share", [0.0, 1.0, 4.0])
def test_validation_chooses_what_fits(share: float) -> None:
    """And the penalty whose predictions are right; those of the others are noise."""
    raw, cold = drawn(), ColdUsers(COLD, DEGREES, 1.0)
    noise = Embeddings(raw.users.flip(1), raw.items)
    wanted = cold.moved(raw, share)
    split = split_of((wanted.users @ wanted.items.T).topk(6, 1).indices)
    cold.choose(lambda l2: raw if l2 == USER_PENALTIES[2] else noise, split, "all/recall@6")
    assert float(cold.share) == share
    assert float(cold.l2) == USER_PENALTIES[2]
    cold.choose(lambda l2: raw, split, "all/recall@6")  # the penalty stays, the share is chosen anew
    assert (float(cold.share), float(cold.l2)) == (share, USER_PENALTIES[2])


def test_of_figures_that_cannot_be_told_apart_the_most_regular_is_taken() -> None:
    figures = [(0.10, 0.01), (0.125, 0.01), (0.13, 0.01), (0.129, 0.02)]
    assert _first_near_best((1000.0, 100.0, 10.0, 1.0), figures) == 100.0
    raw, cold = drawn(), ColdUsers(COLD, DEGREES, 1.0)
    alike = Embeddings(raw.users * torch.tensor([1.0, *[1.0 + 1e-3] * (DIM - 1)]), raw.items)
    split = split_of((raw.users @ raw.items.T).topk(9, 1).indices[:, [0, 2, 4, 8]])
    cold.choose(lambda l2: raw if l2 == USER_PENALTIES[0] else alike, split, "all/recall@6")
    assert float(cold.l2) == USER_PENALTIES[-1]


def test_nothing_is_chosen_without_cold_users_in_validation() -> None:
    raw, cold = drawn(), ColdUsers(torch.zeros(USERS, dtype=torch.bool), DEGREES, 1.0)
    cold.choose(lambda l2: raw, split_of(torch.zeros(USERS, 1, dtype=torch.int64)), "all/recall@6")
    assert not cold.chosen
    assert cold(raw) is raw
