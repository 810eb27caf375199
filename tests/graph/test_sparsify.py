"""Sampled operators are the adjacency on average, entry by entry, and their gradients are exact."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.items_alone import of_items
from gclrec.graph.propagation import CSRMatrix, layered
from gclrec.graph.sparsify import Sparsifier


def dense(matrix: CSRMatrix) -> Tensor:
    """Return a matrix in full; an entry that stands there twice counts twice."""
    rows = torch.arange(len(matrix.ptr) - 1).repeat_interleave(matrix.ptr.diff().long())
    full = torch.zeros(len(matrix.ptr) - 1, matrix.num_columns, dtype=torch.float64)
    return full.index_put((rows, matrix.to.long()), matrix.weight.double(), accumulate=True)


def skewed(users: int = 30, items: int = 20, edges: int = 150) -> BipartiteGraph:
    """Return a graph whose first users and items have most edges; the last of each have none."""
    generator = torch.Generator().manual_seed(1)
    chance = torch.outer(1 / torch.arange(1, users), 1 / torch.arange(1, items)).sqrt().flatten()
    keys = torch.multinomial(chance, edges, generator=generator)
    return BipartiteGraph(users, items, torch.stack([keys // (items - 1), keys % (items - 1)]))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("exponent", [0.5, 0.3])
def test_the_mean_of_many_samples_is_the_adjacency(share: float, exponent: float) -> None:
    adjacency = skewed().weighted(exponent)
    sparsifier, generator = Sparsifier(adjacency, share), torch.Generator().manual_seed(2)
    whole, rounds = dense(adjacency.by_user), 1500
    sums, square, back, drawn = torch.zeros_like(whole), torch.zeros_like(whole), whole.T * 0.0, 0
    for _ in range(rounds):
        sample = sparsifier.draw(generator=generator)
        found = dense(sample.by_user)
        sums, square = sums + found, square + found.square()
        back, drawn = back + dense(sample.by_item), drawn + len(sample.by_user.to)
    mean = sums / rounds
    deviation = ((square / rounds - mean.square()).clamp(min=0.0) / rounds).sqrt()
    assert ((mean - whole).abs() <= 5.0 * deviation + 1e-6).all()
    assert ((back / rounds - whole.T).abs() <= 5.0 * deviation.T + 0.02).all()
    assert drawn / rounds == pytest.approx(share * 150, abs=1.0)
    assert (found != whole).any()


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_the_mean_over_all_draws_is_exact(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The place within a piece is uniform, so the mean over a fine grid of places is the expectation."""
    adjacency = skewed(6, 5, 14).adjacency
    sparsifier, cells = Sparsifier(adjacency, share), 4000
    sums = dense(adjacency.by_user) * 0.0
    for cell in range(cells):
        place = (cell + 0.5) / cells

        def rand(count: int, place: float = place, **_: object) -> Tensor:
            return torch.full((count,), place, dtype=torch.float64)

        monkeypatch.setattr(torch, "rand", rand)
        sums += dense(sparsifier.draw().by_user)
    assert torch.allclose(sums / cells, dense(adjacency.by_user), rtol=1e-2, atol=1e-9)


def test_rare_nodes_keep_their_edges() -> None:
    """Probabilities follow the weights up to 1, and their mean is the share."""
    adjacency = skewed().adjacency
    p, weight = Sparsifier(adjacency, 0.6).probability, adjacency.by_user.weight
    assert p.mean().item() == pytest.approx(0.6, rel=1e-5)
    assert p.max() == 1.0
    assert torch.allclose(p, (weight * (p / weight).max()).clamp(max=1.0), rtol=1e-4)


def test_what_comes_back_to_a_node_is_right_on_average() -> None:
    """Both directions are drawn apart: with one sample the diagonal of the square would be too large."""
    adjacency = skewed().adjacency
    sparsifier, generator = Sparsifier(adjacency, 0.2), torch.Generator().manual_seed(3)
    exact = (dense(adjacency.by_user) @ dense(adjacency.by_item)).trace().item()
    apart, same = 0.0, 0.0
    for _ in range(400):
        sample = sparsifier.draw(generator=generator)
        there, back = dense(sample.by_user), dense(sample.by_item)
        apart += (there @ back).trace().item() / 400
        same += (there @ there.T).trace().item() / 400
    assert apart == pytest.approx(exact, rel=0.05)
    assert same > 1.2 * exact


@pytest.mark.parametrize("use", ["polynomial", "layered", "of_items"])
def test_gradients_go_through_the_transpose(use: str) -> None:
    """Values and gradients equal those of dense matrices."""
    graph = skewed()
    sample = Sparsifier(graph.adjacency, 0.4).draw(generator=torch.Generator().manual_seed(4))
    there, back = dense(sample.by_user), dense(sample.by_item)
    assert not torch.allclose(there.T, back)
    assert torch.equal(dense(sample.transposed.by_item), there.T)
    assert torch.equal(dense(sample.transposed.transposed.by_user), there)
    generator = torch.Generator().manual_seed(5)
    x = [torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (30, 20)]
    if use == "of_items":
        x[0].zero_()
    weights, out = (0.3, 0.5, 0.2, 0.7), [torch.randn_like(part) for part in x]
    slow = [part.clone().requires_grad_() for part in x]
    fast = [part.clone().requires_grad_() for part in x]
    power, total = tuple(slow), [weights[0] * part for part in slow]
    for weight in weights[1:]:
        power = there @ power[1], back @ power[0]
        total = [one + weight * other for one, other in zip(total, power, strict=True)]
    found = {
        "polynomial": lambda: sample.polynomial(*fast, weights),
        "layered": lambda: layered([sample] * 3, *fast, weights)[:2],
        "of_items": lambda: of_items(sample, fast[1], weights),
    }[use]()
    for one, other in zip(found, total, strict=True):
        assert torch.allclose(one, other)
    sides = slice(1, 2) if use == "of_items" else slice(0, 2)
    expected = torch.autograd.grad(total, slow[sides], out)
    for one, other in zip(torch.autograd.grad(found, fast[sides], out), expected, strict=True):
        assert torch.allclose(one, other)
        assert (other != 0.0).any()


def test_the_whole_share_and_an_empty_graph() -> None:
    adjacency = skewed().adjacency
    sample = Sparsifier(adjacency, 1.0).draw(generator=torch.Generator().manual_seed(0))
    assert torch.allclose(dense(sample.by_user), dense(adjacency.by_user))
    empty = BipartiteGraph(3, 2, torch.empty(2, 0, dtype=torch.int64)).adjacency
    users, _ = Sparsifier(empty, 0.5).draw().propagate(torch.ones(3, 2), torch.ones(2, 2))
    assert (users == 0.0).all()
