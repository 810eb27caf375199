"""Contrast between vectors and attributes: the loss as loops, what is replaced, and cold items found."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from gclrec.common.errors import SettingError
from gclrec.contrast import build_contrast
from gclrec.contrast.base import TrainingStep
from gclrec.contrast.clcrec import ContentContrast
from gclrec.contrast.cross_layer import CrossLayer
from gclrec.data.schema import Attributes, Schema
from gclrec.data.splits import Split
from gclrec.data.tf_idf import TfIdf
from gclrec.encoders import LightGCN
from gclrec.encoders.content.bag_encoder import BagEncoder, TrainedMap
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.settings.config import TrainConfig
from gclrec.settings.validation import validate
from gclrec.training.fit import fit
from gclrec.views.views import make_view, parse_augmentations
from tests.encoders.content.test_content import BOTH, ITEMS, ONLY_ITEMS, SCHEMAS
from tests.training.test_training import pairs_of

WITH_A_BLANK = ITEMS.with_columns(
    kind=pl.when(pl.col("id") == 2).then(None).otherwise("kind"),
    tags=pl.when(pl.col("id") == 2).then(None).otherwise("tags"),
)
VIEW = parse_augmentations("edge_drop:0.3")[:1]
USERS, POSITIVES = torch.tensor([0, 3, 3, 7]), torch.tensor([2, 0, 9, 2])


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def made(
    graph: BipartiteGraph, attributes: Attributes, **settings: object
) -> tuple[LightGCN, ContentContrast]:
    encoder = LightGCN(12, 10, 4, 2, generator=seeded(1)).double()
    contrast = ContentContrast(
        encoder, graph, attributes=attributes, generator=seeded(2), **settings
    ).double()
    for parameter in contrast.parameters():
        parameter.data.normal_(generator=seeded(len(parameter)))
    return encoder, contrast


@pytest.mark.parametrize("hidden", [0, 5])
def test_the_encoder_is_its_formula(hidden: int) -> None:
    encoder = BagEncoder(BOTH.items, 4, hidden=hidden, generator=seeded(1))
    encoder.bias.data.normal_(generator=seeded(3))
    content = torch.from_numpy(TfIdf.fit(BOTH.items)(BOTH.items).toarray())
    for row in range(10):
        x = encoder.weight.T @ content[row] + encoder.bias
        if encoder.last is not None:
            x = torch.where(x > 0, x, 0.01 * x)
            x = encoder.last.weight @ x + encoder.last.bias
        torch.testing.assert_close(encoder(torch.tensor([row, row]))[1], x)
    told = SCHEMAS["item"].encode(ITEMS[[8, 1]])
    torch.testing.assert_close(encoder.encode(told), encoder(torch.tensor([8, 1])))
    with pytest.raises(ValueError, match="other fields"):
        encoder.encode(BOTH.users)


@pytest.mark.parametrize("attributes", [BOTH, ONLY_ITEMS], ids=["both", "items"])
@pytest.mark.parametrize("hidden", [0, 5])
def test_the_loss_is_its_formula_both_ways(
    toy_graph: BipartiteGraph, attributes: Attributes, hidden: int
) -> None:
    encoder, contrast = made(toy_graph, attributes, temperature=0.3, hidden=hidden)
    step = TrainingStep(encoder, toy_graph, (), USERS, POSITIVES, seeded(4))
    loss = contrast(step).loss

    final = encoder(toy_graph)
    expected = loss.new_zeros(())
    sides = [("item", final.items, [0, 2, 9]), ("user", final.users, [0, 3, 7])]
    if attributes is ONLY_ITEMS:
        sides.pop()
    for side, vectors, nodes in sides:
        content = contrast.encoders[side](torch.tensor(nodes))
        cosines = torch.stack(
            [
                torch.stack([functional.cosine_similarity(vectors[n], f, dim=0) for f in content])
                for n in nodes
            ]
        )
        shares = (cosines / 0.3).exp()
        for k in range(len(nodes)):
            both = shares[k, k] / shares[k].sum() * (shares[k, k] / shares[:, k].sum())
            expected = expected - both.log() / (2 * len(nodes))
    torch.testing.assert_close(loss, expected)
    parameters = [*encoder.parameters(), *contrast.parameters()]
    for own, slow in zip(*(torch.autograd.grad(x, parameters) for x in (loss, expected)), strict=True):
        torch.testing.assert_close(own, slow)
        assert (own != 0).any()


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rows_are_replaced_with_their_probability(toy_graph: BipartiteGraph, share: float) -> None:
    """Each occurrence for itself; a node of which nothing is known keeps its vector."""
    attributes = Attributes(BOTH.users, SCHEMAS["item"].encode(WITH_A_BLANK))
    encoder, contrast = made(toy_graph, attributes, share=share)
    final = encoder(toy_graph)

    def asked(seed: int) -> tuple[torch.Tensor, ...]:
        main = contrast(TrainingStep(encoder, toy_graph, (), USERS, POSITIVES, seeded(seed))).main
        users, items = torch.arange(12).repeat(200), torch.arange(10).repeat(200)
        return users, items, *main.rows(users, items)

    users, items, *rows = asked(5)
    for side, numbers, vectors, found in zip(("user", "item"), (users, items), final, rows, strict=True):
        content = contrast.encoders[side](numbers)
        own, made_of = ((found - x).abs().amax(1) < 1e-12 for x in (vectors[numbers], content))
        blank = (numbers == 2) if side == "item" else torch.zeros_like(own)
        assert (own ^ made_of).all()
        assert own[blank].all()
        assert float(made_of[~blank].double().mean()) == pytest.approx(share, abs=0.04)
    again, other = asked(5), asked(6)
    assert all(torch.equal(a, b) for a, b in zip(rows, again[2:], strict=True))
    assert torch.equal(rows[1], other[3]) == (share in (0.0, 1.0))
    gradient = torch.autograd.grad(rows[1].sum(), contrast.encoders["item"].weight, allow_unused=True)[0]
    assert (gradient is None) if share == 0.0 else bool((gradient != 0).any())


def test_beside_graph_views_both_losses_are_added(toy_graph: BipartiteGraph) -> None:
    """And the vectors that rows are taken from are those that the other contrast ranks by."""
    encoder = LightGCN(12, 10, 4, 2, generator=seeded(1)).double()
    (view,) = (make_view(chain, toy_graph, generator=seeded(2), num_layers=2) for chain in VIEW)
    step = TrainingStep(encoder, toy_graph, (view,), USERS, POSITIVES, seeded(4))
    settings = {"temperature": 0.4, "content_share": 0.0, "ssl_layer": 1}
    both = build_contrast("cross_layer+content", encoder, toy_graph, attributes=BOTH, **settings)
    beside, content = CrossLayer(encoder, toy_graph, temperature=0.4, layer=1), both.double().content
    main, loss = both(step)
    final, other = beside(step)
    assert torch.equal(main.items, final.items)
    torch.testing.assert_close(loss, other + content.loss(step, final, 0.4))
    assert both.maps == content.maps


def test_nodes_without_interactions_get_what_their_attributes_make() -> None:
    degrees = torch.tensor([3, 0, 1, 2, 0, 5, 1, 1, 0, 2])
    encoder = BagEncoder(BOTH.items, 4, hidden=3, generator=seeded(1))
    vectors = torch.randn(10, 4, generator=seeded())
    found = TrainedMap(encoder, degrees)(vectors)
    for row in range(10):
        torch.testing.assert_close(
            found[row], vectors[row] if degrees[row] else encoder(torch.tensor([row]))[0]
        )


def test_there_must_be_attributes(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(SettingError, match="there are none"):
        ContentContrast(LightGCN(12, 10, 4, 2), toy_graph)


def test_a_batch_of_unknown_nodes_has_no_loss(toy_graph: BipartiteGraph) -> None:
    attributes = Attributes(items=SCHEMAS["item"].encode(WITH_A_BLANK))
    encoder, contrast = made(toy_graph, attributes)
    step = TrainingStep(encoder, toy_graph, (), torch.tensor([0]), torch.tensor([2]), seeded())
    assert contrast(step).loss == 0.0


@pytest.mark.filterwarnings("ignore:cold items hold:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize("encoder", ["mf", "lightgcn"])
def test_cold_items_of_a_users_taste_are_found(encoder: str) -> None:
    """Six tastes with a tag each; a third of the items has no interaction in training."""
    tastes, users, items = 6, 60, 54
    user, item = np.nonzero(np.arange(users)[:, None] % tastes == np.arange(items) % tastes)
    cold, tested = item // tastes % 3 == 0, item // tastes % 2 == 0
    every = pairs_of(users, items, user, item)
    split = Split(
        every.select(~cold), every.select(cold & ~tested), every.select(cold & tested), name="cold_items"
    )
    frame = pl.DataFrame({"id": range(items), "taste": [f"t{n % tastes}" for n in range(items)]})
    settings = {"encoder": encoder, "num_layers": 2, "ssl": "content", "attributes": "map", "aug": "none"}
    settings |= {"epochs": 4, "batch_size": 64, "learning_rate": 0.05, "ssl_weight": 0.5, "dim": 8}
    select = {"ks": (3,), "select": "cold_among_cold/recall@3", "seed": 1}
    config = validate(TrainConfig(**settings, **select))
    result = fit(config, split, attributes=Attributes(items=Schema.fit(frame).encode(frame)))
    assert result.evaluation.values["cold_among_cold/recall@3"] > 0.9  # by chance 3 of 18
