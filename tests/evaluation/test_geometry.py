"""Geometry beside slow loops, and spaces whose figures are known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from gclrec.common.errors import InputError
from gclrec.evaluation.geometry import (
    alignment,
    collapse,
    collapsed_dimensions,
    effective_rank,
    geometry,
    mean_cosine,
    uniformity,
)


def normal(rows: int, dim: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def unit(x: torch.Tensor) -> np.ndarray:
    rows = x.double().numpy()
    return rows / np.sqrt((rows * rows).sum(1, keepdims=True))


def test_figures_equal_loops() -> None:
    users, items = normal(11, 5), normal(7, 5, seed=1)
    user, item = np.array([0, 3, 3, 10]), np.array([6, 0, 2, 2])
    degrees = np.array([1, 9, 2, 2, 0, 3, 1])
    found = geometry(users, items, (user, item), degrees)

    u, i = unit(users), unit(items)
    expected = sum(((u[a] - i[b]) ** 2).sum() for a, b in zip(user, item, strict=True)) / 4
    assert found["alignment"] == pytest.approx(expected, rel=1e-5)
    for side, rows, raw in (("users", u, users), ("items", i, items)):
        pairs = list(itertools.permutations(range(len(rows)), 2))
        kernel = [math.exp(-2 * ((rows[a] - rows[b]) ** 2).sum()) for a, b in pairs]
        assert found[f"{side}/uniformity"] == pytest.approx(math.log(sum(kernel) / len(pairs)), rel=1e-5)
        cosines = [rows[a] @ rows[b] for a, b in pairs]
        assert found[f"{side}/mean_cosine"] == pytest.approx(sum(cosines) / len(pairs), abs=1e-6)
        values = np.linalg.svd(raw.double().numpy(), compute_uv=False)
        shares = [value / sum(values) for value in values]
        rank = math.exp(-sum(p * math.log(p) for p in shares))
        assert found[f"{side}/effective_rank"] == pytest.approx(rank, rel=1e-8)
        assert found[f"{side}/collapsed_dimensions"] == 0.0
    lengths = [math.sqrt(sum(float(v) ** 2 for v in row)) for row in items]
    assert found["items/norm_head"] == pytest.approx(lengths[1], rel=1e-5)  # 9 of the 18 interactions
    assert found["items/norm_mid"] == pytest.approx((lengths[5]) / 1, rel=1e-5)
    assert found["items/norm_tail"] == pytest.approx(sum(lengths[n] for n in (0, 2, 3, 4, 6)) / 5, rel=1e-5)


def test_identical_vectors() -> None:
    same = normal(1, 6).repeat(50, 1)
    assert effective_rank(same) == pytest.approx(1.0, abs=1e-5)
    assert uniformity(same) == pytest.approx(0.0, abs=1e-5)
    assert mean_cosine(same) == pytest.approx(1.0, abs=1e-5)
    assert collapsed_dimensions(same) == 1.0
    assert alignment(same, 3 * same) == pytest.approx(0.0, abs=1e-6)
    assert alignment(same, -same) == pytest.approx(4.0, abs=1e-5)


def test_an_orthonormal_basis() -> None:
    basis = torch.linalg.qr(normal(8, 8)).Q
    assert effective_rank(basis) == pytest.approx(8.0)
    assert mean_cosine(basis) == pytest.approx(0.0, abs=1e-6)
    assert uniformity(basis) == pytest.approx(-4.0, abs=1e-5)  # every distance is the square root of 2
    assert effective_rank(torch.cat([basis[:3], -basis[:3]])) == pytest.approx(3.0, abs=1e-4)


def test_an_even_spread_over_many_dimensions_has_uniformity_near_minus_four() -> None:
    assert uniformity(normal(1000, 512)) == pytest.approx(-4.0, abs=0.05)


def test_dimensions_that_do_not_vary_are_counted() -> None:
    vectors = normal(100, 4)
    vectors[:, 1] = 2.5
    vectors[:, 3] *= 1e-4
    assert collapsed_dimensions(vectors) == 0.5


def test_length_does_not_matter_to_directions_and_zero_has_none() -> None:
    vectors = normal(40, 6)
    scaled = vectors * torch.rand(40, 1, generator=torch.Generator().manual_seed(2)).exp()
    with_zeros = torch.cat([scaled, torch.zeros(5, 6)])
    for figure in (uniformity, mean_cosine):
        assert figure(with_zeros) == pytest.approx(figure(vectors), abs=1e-5)
    tiny = vectors * 1e-20
    assert uniformity(tiny) == pytest.approx(uniformity(vectors), abs=1e-4)


def test_drawn_parts_come_near_and_follow_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    users, items = normal(3000, 8) + 0.3, normal(500, 8, seed=1)
    random = np.random.default_rng(0)
    pairs = random.integers(0, 3000, 5000), random.integers(0, 500, 5000)
    monkeypatch.setattr("gclrec.evaluation.geometry._PAIRS", 2000)
    first, again, other = (geometry(users, items, pairs, np.ones(500), seed=seed) for seed in (0, 0, 1))
    assert first == again
    for name, exact in (
        ("users/uniformity", uniformity(users)),
        ("alignment", alignment(users[pairs[0]], items[pairs[1]])),
    ):
        assert first[name] != other[name]
        assert first[name] == pytest.approx(exact, abs=0.1)
    assert first["items/uniformity"] == other["items/uniformity"]  # few rows: exact


def test_what_is_not_defined_is_left_out() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    found = geometry(torch.zeros(3, 4), normal(1, 4), (nothing, nothing), np.array([0]))
    assert set(found) == {
        "users/collapsed_dimensions",
        "items/collapsed_dimensions",
        "items/effective_rank",
        "items/norm_tail",
    }
    assert found["users/collapsed_dimensions"] == 1.0
    bad = normal(3, 4)
    bad[1, 2] = math.nan
    with pytest.raises(InputError, match="row 1"):
        geometry(bad, normal(2, 4), (nothing, nothing), np.ones(2))


def collapse_of(users: torch.Tensor, items: torch.Tensor) -> str | None:
    nothing = np.zeros(0, dtype=np.int64)
    return collapse(geometry(users, items, (nothing, nothing), np.ones(len(items))), users.shape[1])


def test_collapse_is_reported_in_plain_words() -> None:
    healthy, line = normal(60, 8), normal(60, 1) * torch.ones(1, 8)
    assert collapse_of(healthy, healthy) is None
    assert "vectors of items have collapsed: they use 1.0 of 8 dimensions" in str(collapse_of(healthy, line))
    narrow = str(collapse_of(healthy + 20, healthy))
    assert "users" in narrow
    assert "cosine" in narrow
    assert "items" not in narrow
    assert collapse_of(normal(60, 1).abs(), normal(60, 1).abs()) is None  # no room to collapse in
    assert collapse_of(normal(60, 2), normal(60, 2)) is None


def test_alignment_alone_collapses_and_alignment_with_uniformity_does_not() -> None:
    """Pulling positives together without negatives and without stop-gradient makes all vectors one."""
    user = torch.arange(40).repeat_interleave(6)
    item = torch.randint(30, (240,), generator=torch.Generator().manual_seed(2))

    def trained(weight: float) -> str | None:
        users, items = normal(40, 8).requires_grad_(), normal(30, 8, seed=1).requires_grad_()
        optimizer = torch.optim.Adam([users, items], lr=0.1)
        for _ in range(400):
            x, y = (torch.nn.functional.normalize(v, dim=1) for v in (users, items))
            loss = (x[user] - y[item]).square().sum(1).mean()
            for side in (x, y):
                loss = loss + weight * torch.pdist(side).square().mul(-2).exp().mean().log()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return collapse_of(users.detach(), items.detach())

    assert "users have collapsed" in str(trained(0.0))
    assert trained(1.0) is None
