"""Contrast of fields: what each view hides, mutual information as loops, and the loss as loops."""

from __future__ import annotations

import itertools
import math

import polars as pl
import pytest
import torch
from torch import Tensor

from gclrec.common.errors import InputError, SettingError
from gclrec.contrast import build_contrast
from gclrec.contrast.base import TrainingStep
from gclrec.contrast.features import (
    FEATURE_VIEWS,
    SSL_SIDES,
    FieldContrast,
    check_features,
    mutual_information,
    related_fields,
)
from gclrec.contrast.two_views import TwoViews
from gclrec.data.schema import Attributes, Schema
from gclrec.encoders import Content, FieldTable, LightGCN, TwoTower
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.sampling import distinct
from gclrec.views.views import make_view, parse_augmentations

COUNT = 60
COLUMNS = {
    "kind": [("a", "b", "c")[n % 3] if n % 7 else None for n in range(COUNT)],
    "maker": [("x", "y", "z")[n % 3] if n % 11 else "y" for n in range(COUNT)],  # nearly the kind
    "tags": [[f"t{n % 4}", f"t{4 + n % 5}", f"t{9 + n % 3}"][: 1 + n % 3] for n in range(COUNT)],
    "price": [n * 7 % 13 + 0.5 for n in range(COUNT)],
    "cover": [[math.sin(n), math.cos(n)] for n in range(COUNT)],
}
FRAME = pl.DataFrame({"id": range(COUNT), **COLUMNS})
SCHEMA = Schema.fit(FRAME)
every_view = pytest.mark.parametrize("views", FEATURE_VIEWS)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def table() -> FieldTable:
    return FieldTable(SCHEMA.encode(FRAME))


def graph_of(count: int = COUNT) -> BipartiteGraph:
    keys = torch.randperm(20 * (count - 10), generator=seeded(3))[:200].sort().values
    return BipartiteGraph(20, count, torch.stack([keys // (count - 10), keys % (count - 10)]))


def encoder_of(frame: pl.DataFrame = FRAME, *, users: pl.DataFrame | None = None) -> LightGCN:
    sides = {"items": SCHEMA.encode(frame)}
    if users is not None:
        sides["users"] = Schema.fit(users).encode(users)
    content = Content(Attributes(**sides), 6, generator=seeded(1))
    return LightGCN(20, len(frame), 6, 2, content=content, generator=seeded())


def step_of(encoder: object, graph: BipartiteGraph, pairs: int = 30, seed: int = 5) -> TrainingStep:
    users, items = graph.edge_index[:, :pairs]
    return TrainingStep(encoder, graph, (), users, items, seeded(seed))


def test_dropout_drops_values_and_hides_single_ones() -> None:
    batch = table().batch(torch.arange(COUNT).repeat(50))
    first, second = FEATURE_VIEWS["dropout"](batch, torch.empty(0), 0.3, seeded())
    for view in (first, second):
        assert (view.missing | ~batch.missing).all()  # what was missing stays so
        for number, known in enumerate(batch.fields):
            gone = (view.missing & ~batch.missing)[:, number].double().mean() / (
                (~batch.missing)[:, number].double().mean()
            )
            if known.kind != "categories":
                assert float(gone) == pytest.approx(0.3, abs=0.04), known.name
                continue
            assert len(view.columns[number][1]) / len(batch.columns[number][1]) == pytest.approx(
                0.7, abs=0.02
            )
            ptr, _, weight = view.columns[number]
            assert torch.equal(view.missing[:, number], ptr.diff() == 0)
            for row in range(200):  # the mean is over what is left
                left = weight[ptr[row] : ptr[row + 1]]
                torch.testing.assert_close(left, torch.full_like(left, 1 / max(len(left), 1)))
    assert not torch.equal(first.missing, second.missing)


@pytest.mark.parametrize("views", ["random", "correlated"])
def test_halves_complement_each_other_and_are_the_same_for_all_rows(views: str) -> None:
    batch, related = table().batch(torch.arange(COUNT)), related_fields(table())
    seen = set()
    for seed in range(40):
        first, second = FEATURE_VIEWS[views](batch, related, 0.0, seeded(seed))
        hidden = [(view.missing & ~batch.missing).any(0) for view in (first, second)]
        assert torch.equal(hidden[0], ~hidden[1])
        assert torch.equal(first.missing, batch.missing | hidden[0])
        assert 0 < int(hidden[0].sum()) < len(batch.fields)
        seen.add(tuple(hidden[0].tolist()))
        if views == "random":
            assert int(hidden[0].sum()) == len(batch.fields) // 2
    assert seen == set(map(tuple, related.tolist())) if views == "correlated" else len(seen) > 5


def test_fields_of_each_view_can_be_named() -> None:
    encoder, graph = encoder_of(), graph_of()
    contrast = FieldContrast(encoder, graph, views="tags, kind|price", p=0.0, temperature=0.3)
    step = step_of(encoder, graph)
    generator = seeded(5)
    drawn = distinct(30, COUNT, generator=generator)
    batch = encoder.field_table("item").batch(drawn)
    names = [known.name for known in SCHEMA.fields]
    views = [
        batch.hide(torch.tensor([name not in shown for name in names]))
        for shown in (("tags", "kind"), ("price",))
    ]
    left = [n for n in range(30) if all(not view.missing[n].all() for view in views)]
    first, second = (encoder.encode_content("item", view)[left] for view in views)
    torch.testing.assert_close(contrast.loss(step, 0.3), cosine_loops(first, second, 0.3))


@pytest.mark.parametrize(
    "text", ["kind|", "kind|tags|price", "kind,kind|tags", "kind|tags,kind", "kind,|tags"]
)
def test_fields_of_two_views_must_be_told_apart(text: str) -> None:
    with pytest.raises(SettingError, match="expected fields of two views"):
        check_features(views=text, p=0.1)


def test_fields_of_views_must_be_there() -> None:
    with pytest.raises(SettingError, match="'colour' is not one of the fields of items: kind, maker, tags"):
        FieldContrast(encoder_of(), graph_of(), views="kind|colour")


@every_view
def test_a_generator_decides_all(views: str) -> None:
    batch, related = table().batch(torch.arange(COUNT)), related_fields(table())
    one, again = (FEATURE_VIEWS[views](batch, related, 0.4, seeded(3)) for _ in range(2))
    other = FEATURE_VIEWS[views](batch, related, 0.4, seeded(4))
    for view, same in zip(one, again, strict=True):
        assert torch.equal(view.missing, same.missing)
        assert torch.equal(view.columns[2][1], same.columns[2][1])
    assert not torch.equal(one[0].columns[2][1], other[0].columns[2][1])


def shares_of(number: int) -> list[dict[object, float]]:
    """Return the weight of each value in each row, as the definition says it."""
    shares: list[dict[object, float]] = []
    column = SCHEMA.encode(FRAME).columns[number]
    for row in range(COUNT):
        if column.missing[row]:
            shares.append({None: 1.0})
        elif column.codes is not None:
            codes = column.codes[column.ptr[row] : column.ptr[row + 1]].tolist()
            shares.append({code: 1 / len(codes) for code in codes})
        else:
            shares.append({"?": float(column.numbers[row, 0])})
    if column.codes is None:
        values = sorted(share["?"] for share in shares)
        places = [n / 10 * (COUNT - 1) for n in range(1, 10)]
        cuts = [
            values[int(place)] + (place % 1) * (values[min(int(place) + 1, COUNT - 1)] - values[int(place)])
            for place in places
        ]
        shares = [{sum(cut <= share["?"] for cut in sorted(set(cuts))): 1.0} for share in shares]
    return shares


def test_mutual_information_is_its_formula() -> None:
    found = mutual_information(table())
    for f, g in itertools.combinations(range(4), 2):
        one, other = shares_of(f), shares_of(g)
        joint: dict[tuple[object, object], float] = {}
        for left, right in zip(one, other, strict=True):
            for (a, p), (b, q) in itertools.product(left.items(), right.items()):
                joint[a, b] = joint.get((a, b), 0.0) + p * q / COUNT
        alone = [
            {
                value: sum(share.get(value, 0.0) for share in shares) / COUNT
                for share in shares
                for value in share
            }
            for shares in (one, other)
        ]
        expected = sum(p * math.log(p / (alone[0][a] * alone[1][b])) for (a, b), p in joint.items())
        assert found[f, g] == found[g, f] == pytest.approx(expected, rel=1e-5), (f, g)
    assert found[0, 1] > 3 * found[0, 3]


def test_related_fields_are_the_half_of_highest_mutual_information() -> None:
    shared, related = mutual_information(table()), related_fields(table())
    for field in range(5):
        others = sorted((n for n in range(5) if n != field), key=lambda n: -shared[field, n])
        assert set(related[field].nonzero()[:, 0].tolist()) == {field, *others[:2]}
    two = FieldTable(Schema(SCHEMA.fields[:2]).encode(FRAME))
    assert related_fields(two).tolist() == [[True, False], [False, True]]


def cosine_loops(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    total = torch.zeros((), dtype=first.dtype)
    for n in range(len(first)):
        cosines = [torch.cosine_similarity(first[n], other, dim=0) / temperature for other in second]
        total = total - (cosines[n] - torch.stack(cosines).exp().sum().log()) / len(first)
    return total


def test_the_loss_and_its_gradient_are_the_formula() -> None:
    """With halves and nothing dropped the two views can be written down by hand."""
    encoder, graph = encoder_of().double(), graph_of()
    contrast = FieldContrast(encoder, graph, views="random", p=0.0, temperature=0.3)
    step = step_of(encoder, graph)
    main, loss = contrast(step)
    assert torch.equal(main.items, encoder(graph).items)

    generator = seeded(5)
    drawn = distinct(30, COUNT, generator=generator).tolist()
    order = torch.randperm(5, generator=generator)
    masks = [torch.tensor([field in half for field in range(5)]) for half in (order[:2], order[2:])]
    gaps, sums = encoder.field_table("item").missing, []
    rows = [n for n in sorted(drawn) if all(not (gaps[n] | m).all() for m in masks)]
    for mask in masks:
        fields = encoder.content.encoders["item"](encoder.field_table("item"), hidden=mask.expand(COUNT, 5))
        sums.append(torch.stack([fields[n].sum(0) for n in rows]))
    expected = cosine_loops(sums[0], sums[1], 0.3)
    torch.testing.assert_close(loss, expected)
    learned = list(encoder.content.parameters())
    for mine, plain in zip(
        torch.autograd.grad(loss, learned, retain_graph=True),
        torch.autograd.grad(expected, learned),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)
        assert (mine != 0).any()
    assert torch.autograd.grad(loss, encoder.layer_zero, allow_unused=True) == (None, None)  # no id


@every_view
def test_nodes_come_from_the_whole_catalogue(views: str) -> None:
    """Ten items are cold and one has no attributes: the catalogue has the ten, never the one."""
    empty = dict.fromkeys(COLUMNS)
    frame = pl.concat([FRAME[:-1], pl.DataFrame({"id": [COUNT - 1], **empty}, schema=FRAME.schema)])
    encoder, graph, seen = encoder_of(frame), graph_of(), set()
    contrast = FieldContrast(encoder, graph, views=views)
    for seed in range(30):
        rows = contrast._rows("item", step_of(encoder, graph, seed=seed)).tolist()
        assert len(rows) == len(set(rows)) == 30
        seen |= set(rows)
    assert seen == set(range(COUNT - 1))


@every_view
@pytest.mark.parametrize("sides", SSL_SIDES)
def test_sides_are_added_up(views: str, sides: str) -> None:
    users = pl.DataFrame({"id": range(20), "age": [n % 5 + 0.5 for n in range(20)], "sex": ["m", "f"] * 10})
    encoder, graph = encoder_of(users=users), graph_of()
    losses = {
        name: FieldContrast(encoder, graph, views=views, sides=name, p=0.2).loss(step_of(encoder, graph), 0.2)
        for name in ("users", "both", sides)
    }
    assert losses[sides].isfinite()
    if sides == "both":
        assert losses["both"] > losses["users"]
    rows = torch.autograd.grad(losses[sides], encoder.content.parameters(), allow_unused=True)
    names = [name for name, _ in encoder.content.named_parameters()]
    moved = {name.split(".")[1] for name, grad in zip(names, rows, strict=True) if grad is not None}
    assert moved == {"items": {"item"}, "users": {"user"}, "both": {"user", "item"}}[sides]


def test_beside_graph_views_both_losses_are_added() -> None:
    encoder, graph = encoder_of(), graph_of()
    chains = parse_augmentations("edge_drop:0.3,node_drop:0.2")
    views = tuple(make_view(chain, graph, generator=seeded(2), num_layers=2) for chain in chains)
    users, items = graph.edge_index[:, :30]
    losses = [
        contrast(TrainingStep(encoder, graph, views, users, items, seeded(9)))[1]
        for contrast in (
            build_contrast(
                "infonce+features", encoder, graph, temperature=0.4, ssl_negatives="all", feature_drop=0.2
            ),
            TwoViews(encoder, graph, temperature=0.4, negatives="all"),
            FieldContrast(encoder, graph, temperature=0.4, p=0.2),
        )
    ]
    torch.testing.assert_close(losses[0], losses[1] + losses[2])


def test_training_on_it_brings_the_views_of_a_node_together() -> None:
    items = SCHEMA.encode(FRAME)
    encoder = TwoTower(20, COUNT, Attributes(items=items), 8, refiner="senet", generator=seeded())
    graph = graph_of()
    contrast = FieldContrast(encoder, graph, views="dropout", p=0.2)
    optimizer, losses = torch.optim.Adam(encoder.parameters(), lr=0.02), []
    for step in range(60):
        loss = contrast.loss(step_of(encoder, graph, seed=step), 0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_nothing_left_is_no_loss() -> None:
    """With all values dropped but for a few, a batch may have no node left: zero, with a gradient of zero."""
    frame = FRAME.select("id", "kind")
    only = Schema.fit(frame)
    content = Content(Attributes(items=only.encode(frame)), 6)
    encoder = LightGCN(20, COUNT, 6, 2, content=content)
    loss = FieldContrast(encoder, graph_of(), p=0.99).loss(step_of(encoder, graph_of(), pairs=1), 0.2)
    assert float(loss.detach()) == 0.0
    loss.backward()


def test_what_cannot_be_contrasted_is_reported() -> None:
    graph, encoder = graph_of(), encoder_of()
    with pytest.raises(InputError, match="no attributes of users"):
        FieldContrast(encoder, graph, sides="users")
    with pytest.raises(InputError, match="no attributes of items"):
        FieldContrast(LightGCN(20, COUNT, 6), graph)
    one = Content(Attributes(items=Schema(SCHEMA.fields[:1]).encode(FRAME)), 6)
    with pytest.raises(InputError, match=r"one field \(kind\), which cannot be divided"):
        FieldContrast(LightGCN(20, COUNT, 6, content=one), graph, views="random")
    for wrong in ({"views": "some"}, {"sides": "left"}):
        with pytest.raises(SettingError, match="must be one of"):
            FieldContrast(encoder, graph, **wrong)
