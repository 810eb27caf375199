"""Main losses against the papers' formulas as plain loops in float64."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from gclrec.losses.base import SCORES
from gclrec.losses.ranking_losses import (
    LOSSES,
    alignment_uniformity,
    bilateral_softmax,
    bpr,
    cosine_contrastive,
    pairwise,
    sampled_softmax,
)
from gclrec.settings.config import TrainConfig

Rows = list[list[float]]
Slow = Callable[..., float]


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a)) / math.sqrt(dot(b, b))


SIMILAR = {"dot": dot, "cosine": cosine}


def slow_pairwise(user: Rows, positive: Rows, negatives: list[Rows], weight: Rows, *, score: str) -> float:
    total = 0.0
    for u, p, ns, ws in zip(user, positive, negatives, weight, strict=True):
        for n, w in zip(ns, ws, strict=True):
            margin = SIMILAR[score](u, p) - SIMILAR[score](u, n)
            total -= w / max(sum(ws), 1e-300) * math.log(1 / (1 + math.exp(-margin)))
    return total / len(user)


def slow_softmax(
    user: Rows, positive: Rows, negatives: list[Rows], weight: Rows, *, score: str, temperature: float
) -> float:
    total = 0.0
    for u, p, ns, ws in zip(user, positive, negatives, weight, strict=True):
        above = math.exp(SIMILAR[score](u, p) / temperature)
        below = sum(w * math.exp(SIMILAR[score](u, n) / temperature) for n, w in zip(ns, ws, strict=True))
        total -= math.log(above / (above + below))
    return total / len(user)


def slow_bsl(
    user: Rows,
    positive: Rows,
    negatives: list[Rows],
    weight: Rows,
    *,
    score: str,
    temperature: float,
    power: float,
) -> float:
    total = 0.0
    for u, p, ns, ws in zip(user, positive, negatives, weight, strict=True):
        below = sum(w * math.exp(SIMILAR[score](u, n) / temperature) for n, w in zip(ns, ws, strict=True))
        if below > 0:
            total -= math.log(math.exp(SIMILAR[score](u, p) / temperature) / below**power)
    return total / len(user)


def slow_ccl(
    user: Rows,
    positive: Rows,
    negatives: list[Rows],
    weight: Rows,
    *,
    margin: float,
    negative_weight: float,
) -> float:
    total = 0.0
    for u, p, ns, ws in zip(user, positive, negatives, weight, strict=True):
        if sum(ws) > 0:
            pushed = sum(w * max(0.0, cosine(u, n) - margin) for n, w in zip(ns, ws, strict=True)) / sum(ws)
            total += 1 - cosine(u, p) + negative_weight * pushed
    return total / len(user)


def slow_directau(
    user: Rows, positive: Rows, negatives: list[Rows], weight: Rows, *, uniformity_weight: float
) -> float:
    def unit(a: list[float]) -> list[float]:
        return [x / math.sqrt(dot(a, a)) for x in a]

    def apart(a: list[float], b: list[float]) -> float:
        return sum((x - y) ** 2 for x, y in zip(unit(a), unit(b), strict=True))

    total = sum(apart(u, p) for u, p in zip(user, positive, strict=True)) / len(user)
    for side in (user, positive):
        pairs = [math.exp(-2 * apart(a, b)) for k, a in enumerate(side) for j, b in enumerate(side) if k != j]
        total += uniformity_weight / 2 * math.log(sum(pairs) / len(pairs))
    return total


SLOW: dict[str, Slow] = {
    "bpr": slow_pairwise,
    "softmax": slow_softmax,
    "bsl": slow_bsl,
    "ccl": slow_ccl,
    "directau": slow_directau,
}
OWN = {
    "temperature": 0.3,
    "power": 1.3,
    "margin": 0.1,
    "negative_weight": 3.0,
    "uniformity_weight": 0.7,
}
CASES = [(name, score) for name, loss in LOSSES.items() for score in loss.scores]


def settings_of(name: str, score: str) -> dict[str, float | str]:
    own: dict[str, float | str] = {key: OWN.get(key, 0.0) for key in LOSSES[name].declared}
    return own | {"score": score} if "score" in own else own


def vectors(rows: int, count: int, dim: int, seed: int, *, shared: bool) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shapes = (rows, dim), (rows, dim), (count, dim) if shared else (rows, count, dim)
    user, positive, negatives = (
        torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes
    )
    return user, positive, negatives


def weights(rows: int, count: int, seed: int) -> Tensor:
    """Some count more than others, some do not count, and the last row has none at all."""
    generator = torch.Generator().manual_seed(seed)
    log_weight = torch.randn(rows, count, dtype=torch.float64, generator=generator)
    log_weight[torch.rand(rows, count, generator=generator) < 0.3] = -torch.inf
    log_weight[-1] = -torch.inf
    return log_weight


@pytest.mark.parametrize(("name", "score"), CASES)
@settings(deadline=None, max_examples=25)
@drawn(
    rows=st.integers(2, 6),
    count=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    shared=st.booleans(),
    weighted=st.booleans(),
    listed=st.booleans(),
)
def test_every_loss_is_its_formula(
    name: str, score: str, rows: int, count: int, seed: int, shared: bool, weighted: bool, listed: bool
) -> None:
    """What does not count may be in the weights or in a list."""
    user, positive, negatives = vectors(rows, count, 4, seed, shared=shared)
    log_weight = weights(rows, count, seed) if weighted else None
    own = settings_of(name, score)
    seen, given = None, log_weight
    if listed and log_weight is not None:
        seen = log_weight.isneginf().view(-1).nonzero().view(-1)
        given = log_weight.nan_to_num(neginf=1.0)
    found = LOSSES[name].compute(user, positive, negatives, given, seen, **own)
    spread = negatives.expand(rows, count, 4)
    plain = torch.ones(rows, count) if log_weight is None else log_weight.exp()
    expected = SLOW[name](user.tolist(), positive.tolist(), spread.tolist(), plain.tolist(), **own)
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize(("name", "score"), CASES)
def test_gradients_are_right_and_not_zero(name: str, score: str, shared: bool) -> None:
    own = settings_of(name, score)
    rows = [part.requires_grad_() for part in vectors(5, 4, 3, 1, shared=shared)]
    for log_weight in (None, weights(5, 4, 2)):

        def loss(*parts: Tensor, log_weight: Tensor | None = log_weight) -> Tensor:
            return LOSSES[name].compute(*parts, log_weight, **own)

        used = rows if LOSSES[name].needs_negatives else rows[:2]
        assert torch.autograd.gradcheck(lambda *parts: loss(*parts, *rows[len(parts) :]), tuple(used))
        for gradient in torch.autograd.grad(loss(*rows), used):
            assert torch.isfinite(gradient).all()
            assert (gradient != 0).any()


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("kind", ["equal", "zero", "huge", "tiny", "opposite"])
@pytest.mark.parametrize(("name", "score"), CASES)
def test_every_loss_is_finite(name: str, score: str, kind: str, shared: bool) -> None:
    """At temperature 0.02, with whatever vectors, with and without negatives that count."""
    huge = 1e17 if score == "cosine" else 1e12
    scale = {"equal": 1.0, "zero": 0.0, "huge": huge, "tiny": 1e-30, "opposite": 1.0}[kind]
    user, positive, negatives = (part.float() * scale for part in vectors(6, 3, 4, 0, shared=shared))
    if kind in ("equal", "opposite"):
        user, positive, negatives = (torch.ones_like(part) for part in (user, positive, negatives))
    if kind == "opposite":
        positive = -positive
    rows = [part.requires_grad_() for part in (user, positive, negatives)]
    own = settings_of(name, score)
    if "temperature" in own:
        own["temperature"] = 0.02
    for log_weight in (None, weights(6, 3, 4).float(), torch.full((6, 3), -torch.inf)):
        loss = LOSSES[name].compute(*rows, log_weight, **own)
        assert torch.isfinite(loss)
        for gradient in torch.autograd.grad(loss, rows, allow_unused=True):
            assert gradient is None or torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.needs_negatives])
def test_without_a_negative_there_is_nothing_to_learn(name: str) -> None:
    user, positive, negatives = vectors(4, 3, 5, 0, shared=True)
    nothing = torch.full((4, 3), -torch.inf)
    assert LOSSES[name].compute(user, positive, negatives, nothing).item() == 0.0


def test_weights_are_repetitions() -> None:
    """A negative that counts three times is three negatives."""
    user, positive, negatives = vectors(4, 2, 5, 0, shared=True)
    counts = torch.tensor([3, 1])
    repeated = negatives.repeat_interleave(counts, 0)
    for loss in (pairwise, sampled_softmax, bilateral_softmax, cosine_contrastive):
        weighted = loss(user, positive, negatives, counts.double().log())
        torch.testing.assert_close(weighted, loss(user, positive, repeated))


def test_known_values() -> None:
    ones = torch.ones(5, 3)
    many = torch.ones(7, 3)
    assert pairwise(ones, ones, many).item() == pytest.approx(math.log(2))
    assert sampled_softmax(ones, ones, many).item() == pytest.approx(math.log(8))
    assert bilateral_softmax(ones, ones, many, power=1.0).item() == pytest.approx(math.log(7), rel=1e-5)
    assert cosine_contrastive(ones, ones, -many).item() == pytest.approx(0.0, abs=1e-6)
    assert alignment_uniformity(ones, ones, many).item() == pytest.approx(0.0, abs=1e-5)
    poles = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert alignment_uniformity(poles, poles, many).item() == pytest.approx(-8.0)
    assert alignment_uniformity(poles[:1], -poles[:1], many).item() == pytest.approx(4.0)


def test_one_negative_is_plain_bpr_bit_for_bit() -> None:
    user, positive, negative = (part.float() for part in vectors(64, 1, 8, 3, shared=False))
    plain = bpr((user * positive).sum(1), (user * negative[:, 0]).sum(1))
    assert torch.equal(pairwise(user, positive, negative), plain)


def test_scores() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    assert torch.equal(SCORES["dot"](rows), rows)
    torch.testing.assert_close(SCORES["cosine"](rows), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


@pytest.mark.parametrize("name", LOSSES)
def test_settings_of_losses_are_training_settings(name: str) -> None:
    """The defaults of a function are those of the flags."""
    names = {found.setting.name for found in LOSSES[name].declared.values()}
    assert names <= set(TrainConfig.__dataclass_fields__)
    user, positive, negatives = vectors(4, 3, 5, 0, shared=True)
    flags = TrainConfig(loss=name).arguments("loss")
    assert torch.equal(
        LOSSES[name].compute(user, positive, negatives),
        LOSSES[name].compute(user, positive, negatives, **flags),
    )


@pytest.mark.parametrize("block", [1, 12, 10**6])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """Shared negatives are worked off in blocks; their values and gradients are those of own ones."""
    monkeypatch.setattr("gclrec.losses.log_sum_exp._BLOCK", block)
    monkeypatch.setattr("gclrec.losses.log_sum_exp._FEWEST_ROWS", 1)
    rows = [part.requires_grad_() for part in vectors(9, 4, 3, 0, shared=True)]
    log_weight = weights(9, 4, 1)
    for loss in (sampled_softmax, bilateral_softmax):
        for weight in (None, log_weight, log_weight[:1]):
            fast = loss(*rows, weight)
            slow = loss(rows[0], rows[1], rows[2].expand(9, 4, 3), weight)
            torch.testing.assert_close(fast, slow)
            for mine, plain in zip(
                torch.autograd.grad(fast, rows), torch.autograd.grad(slow, rows), strict=True
            ):
                torch.testing.assert_close(mine, plain)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"none"}))
def test_other_shapes_and_scores_are_refused(name: str) -> None:
    loss = LOSSES[name].compute
    users, items = torch.ones(2, 3), torch.ones(5, 3)
    for positive in (items, items[:1], torch.ones(2, 4), torch.ones(3)):
        with pytest.raises(ValueError, match="user and positive must both be"):
            loss(users, positive, items)
    if not LOSSES[name].needs_negatives:
        return
    for negatives in (torch.ones(5, 4), torch.ones(3, 5, 3), torch.ones(3), torch.ones(1, 5, 3)):
        with pytest.raises(ValueError, match="negatives must be"):
            loss(users, users, negatives)
    if "score" in LOSSES[name].declared:
        with pytest.raises(ValueError, match="score must be one of dot, cosine, got 'foo'"):
            loss(users, users, items, score="foo")


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"none"}))
@pytest.mark.parametrize("shared", [True, False])
def test_sixteen_bits_under_autocast_give_a_loss_of_single_precision(name: str, shared: bool) -> None:
    """Products may be rounded; the positives and the sums are not."""
    generator = torch.Generator().manual_seed(0)
    user, positive = (torch.randn(64, 16, generator=generator).bfloat16() for _ in range(2))
    negatives = torch.randn(*((8,) if shared else (64, 8)), 16, generator=generator).bfloat16()
    expected = LOSSES[name].compute(user.double(), positive.double(), negatives.double())
    with torch.autocast("cpu", torch.bfloat16):
        found = LOSSES[name].compute(user.requires_grad_(), positive, negatives)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected.item(), rel=2e-3)
    (gradient,) = torch.autograd.grad(found, user)
    assert gradient.dtype == torch.bfloat16
    assert gradient.any()


@pytest.mark.parametrize("shared", [True, False])
def test_tiny_weights_count(shared: bool) -> None:
    """An exponential of -120 is no number of single precision, and its logarithm is -120 all the same."""
    user, negatives = torch.eye(2, 3), torch.eye(3)[2:].expand(*((4,) if shared else (2, 4)), 3)
    found = bilateral_softmax(user, user, negatives, torch.tensor(-120.0), temperature=1.0, power=1.1)
    assert found.item() == pytest.approx(1.1 * (math.log(4) - 120.0) - 1.0, rel=1e-6)


@pytest.mark.parametrize("loss", [sampled_softmax, bilateral_softmax])
def test_bad_temperatures_are_refused(loss: Slow) -> None:
    with pytest.raises(ValueError, match="temperature"):
        loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(4, 3), temperature=0.0)
