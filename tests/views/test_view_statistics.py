"""Statistics of views equal slow counts."""

from __future__ import annotations

import json

import networkx
import pytest
import torch

from gclrec.common.errors import InputError
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.views.view_statistics import view_statistics
from gclrec.views.views import VIEWS, parse_augmentations, view_graph


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", VIEWS)
def test_figures_are_counts(name: str, toy_graph: BipartiteGraph) -> None:
    figures = view_statistics(toy_graph, name, 0.4, generator=seeded())
    json.dumps(figures, allow_nan=False)
    generator = seeded()
    chains = parse_augmentations(name, 0.4)
    views = [view_graph(chain, toy_graph, generator=generator) for chain in chains]
    edges = [set(map(tuple, view.edge_index.T.tolist())) for view in (toy_graph, *views)]
    for seen, view, pairs in zip(figures["views"], views, edges[1:], strict=True):
        nodes = view.to_networkx()
        components = [c for c in networkx.connected_components(nodes) if len(c) > 1]
        assert seen["interactions"] == len(pairs)
        assert seen["kept"] == len(pairs & edges[0])
        assert seen["added"] == len(pairs - edges[0])
        assert seen["kept_share"] == pytest.approx(len(pairs & edges[0]) / 40)
        assert seen["components"] == len(components)
        assert seen["largest_component"] == max(map(len, components), default=0)
        alone = [side for (side, _), degree in nodes.degree if degree == 0]
        assert (seen["isolated_users"], seen["isolated_items"]) == (alone.count("user"), alone.count("item"))
        assert seen["user_degrees"]["mean"] == pytest.approx(len(pairs) / 12)
    union = edges[1] | edges[2]
    assert figures["overlap"] == pytest.approx(len(edges[1] & edges[2]) / len(union) if union else 1.0)
    assert figures["graph"]["interactions"] == 40


def test_two_chains_and_what_leaves_no_trace(toy_graph: BipartiteGraph) -> None:
    figures = view_statistics(toy_graph, "noise:0.2+edge_drop:0.5,none", generator=seeded())
    first, second = figures["views"]
    assert first["steps"] == ["noise:0.2", "edge_drop:0.5"]
    assert first["untold"] == ["noise:0.2"]
    assert second["kept_share"] == 1.0
    assert figures["overlap"] == pytest.approx(first["interactions"] / 40)


def test_shares_by_degree_of_the_item() -> None:
    """An item with 3, one with 10 and one with 150 interactions; those of the last are taken away most."""
    users = [torch.arange(n) for n in (3, 10, 150)]
    items = [torch.full((n,), k) for k, n in enumerate((3, 10, 150))]
    graph = BipartiteGraph(150, 4, torch.stack([torch.cat(users), torch.cat(items)]))
    shares = view_statistics(graph, "degree_edge_drop:0.5", generator=seeded())["views"][0]
    by_degree = shares["kept_share_by_item_degree"]
    assert list(by_degree) == ["1-5", "6-20", "21-100", "over 100"]
    assert by_degree["1-5"] == 1.0
    assert by_degree["21-100"] is None
    assert by_degree["over 100"] < 0.6


def test_wrong_names_are_reported(toy_graph: BipartiteGraph) -> None:
    with pytest.raises(InputError, match="is not known"):
        view_statistics(toy_graph, "edge_drops")
