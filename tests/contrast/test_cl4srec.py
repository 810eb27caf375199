"""Views of histories: what each keeps, and the contrast as loops."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError
from gclrec.contrast.base import TrainingStep
from gclrec.contrast.cl4srec import HISTORY_VIEWS, HistoryContrast, parse_history_views
from gclrec.encoders import LightGCN, Sequences, TwoTower
from gclrec.graph.bipartite import BipartiteGraph

every_view = pytest.mark.parametrize("name", HISTORY_VIEWS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(lengths: list[int], width: int = 8) -> torch.Tensor:
    return torch.tensor([[-1] * (width - n) + list(range(10, 10 + n)) for n in lengths])


@settings(deadline=None, max_examples=60)
@given(
    lengths=st.lists(st.integers(0, 8), min_size=1, max_size=6),
    p=st.floats(0.01, 0.99),
    seed=st.integers(0, 99),
)
def test_contract(lengths: list[int], p: float, seed: int) -> None:
    rows = rows_of(lengths)
    for name, change in HISTORY_VIEWS.items():
        before = rows.clone()
        view, again = (change(rows, p, generator=seeded(seed)) for _ in range(2))
        assert torch.equal(rows, before)
        assert torch.equal(view, again)
        assert view.shape == rows.shape
        for length, row in zip(lengths, view.tolist(), strict=True):
            items, share = list(range(10, 10 + length)), math.floor(length * p + 1e-6)
            kept = [item for item in row if item >= 0]
            if name == "history_crop":
                size = max(length - share, min(length, 1))
                assert row == [-1] * (8 - size) + kept
                assert kept == list(range(kept[0], kept[0] + size)) if kept else size == 0
                assert set(kept) <= set(items)
            elif name == "history_mask":
                assert kept == sorted(kept)
                assert len(kept) == length - min(share, max(length - 1, 0))
                assert all(item in (-1, old) for item, old in zip(row, rows_of([length])[0], strict=True))
            else:
                assert sorted(kept) == items
                moved = [n for n, (old, new) in enumerate(zip(items, kept, strict=True)) if old != new]
                assert not moved or moved[-1] - moved[0] < share


@every_view
def test_every_place_is_as_likely(name: str) -> None:
    rows = rows_of([6] * 6000)
    view = HISTORY_VIEWS[name](rows, 0.5, generator=seeded())
    changed = (view != rows).double().mean(0)[2:]
    if name == "history_crop":  # runs of 3 that begin at 4 places
        starts = view[:, -3].bincount(minlength=14)[10:14] / 6000
        assert starts.tolist() == pytest.approx([0.25] * 4, abs=0.03)
    elif name == "history_mask":
        assert changed.tolist() == pytest.approx([0.5] * 6, abs=0.03)
    else:  # a place is in 1, 2 or 3 of the 4 runs, and moves in two of three shuffles
        assert changed.tolist() == pytest.approx([n / 4 * 2 / 3 for n in (1, 2, 3, 3, 2, 1)], abs=0.03)


def encoder_of(graph: BipartiteGraph, length: int = 4) -> TwoTower:
    sequences = Sequences(*graph.edge_index, graph.num_users, graph.num_items, length=length)
    return TwoTower(
        graph.num_users,
        graph.num_items,
        None,
        4,
        sequences=sequences,
        history="attention",
        generator=seeded(),
    )


def test_the_loss_and_its_gradient_are_the_formula(toy_graph: BipartiteGraph) -> None:
    encoder = encoder_of(toy_graph).double()
    contrast = HistoryContrast(encoder, toy_graph, temperature=0.3, views="history_mask", p=0.5)
    users = torch.tensor([3, 1, 3, 7, 0, 11])
    main, loss = contrast(TrainingStep(encoder, toy_graph, (), users, users, seeded(4)))
    assert torch.equal(main.users, encoder(toy_graph).users)

    rows = [
        row for row in encoder.sequences.newest()[[0, 1, 3, 7, 11]].tolist() if sum(i >= 0 for i in row) > 1
    ]
    assert len(rows) == 4  # user 11 has nothing
    generator = seeded(4)
    views = [HISTORY_VIEWS["history_mask"](torch.tensor(rows), 0.5, generator=generator) for _ in range(2)]
    one, other = (encoder.encode_history(main.items, view) for view in views)
    expected = torch.zeros((), dtype=torch.float64)
    for n in range(4):
        cosines = torch.stack([torch.cosine_similarity(one[n], x, dim=0) / 0.3 for x in other])
        expected = expected - (cosines[n] - cosines.exp().sum().log()) / 4
    torch.testing.assert_close(loss, expected)
    for mine, plain in zip(
        torch.autograd.grad(loss, encoder.items, retain_graph=True),
        torch.autograd.grad(expected, encoder.items),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)
        assert (mine != 0).any()


def test_each_user_gets_one_of_the_views() -> None:
    graph = BipartiteGraph(
        300, 8, torch.stack([torch.arange(300).repeat_interleave(8), torch.arange(8).repeat(300)])
    )
    contrast = HistoryContrast(encoder_of(graph, 8), graph, views=",".join(HISTORY_VIEWS), p=0.5)
    rows = torch.arange(8).expand(300, 8)
    view = contrast._changed(rows, seeded())
    holes = (view < 0).sum(1)
    cropped = (view[:, :4] < 0).all(1)
    counts = [int(cropped.sum()), int((holes.eq(4) & ~cropped).sum()), int(holes.eq(0).sum())]
    assert sum(counts) == 300
    assert all(70 < count < 130 for count in counts)


def test_without_a_user_of_two_items_the_loss_is_zero(toy_graph: BipartiteGraph) -> None:
    encoder = encoder_of(toy_graph)
    users = torch.tensor([11])
    _, loss = HistoryContrast(encoder, toy_graph)(TrainingStep(encoder, toy_graph, (), users, users))
    assert float(loss.detach()) == 0.0
    loss.backward()


def test_what_cannot_be_contrasted_is_reported(toy_graph: BipartiteGraph) -> None:
    for encoder in (LightGCN(12, 10, 4), TwoTower(12, 10, None, 4)):
        with pytest.raises(InputError, match="encoder: it has no histories of users"):
            HistoryContrast(encoder, toy_graph)
    assert parse_history_views("history_crop, history_reorder") == ("history_crop", "history_reorder")
    for text in ("history_drop", "history_crop,history_crop", ""):
        with pytest.raises(InputError, match=r"^views: "):
            parse_history_views(text)
