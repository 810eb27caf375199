"""A PyG graph as a data set."""

from __future__ import annotations

import pytest
import torch
from torch_geometric.data import HeteroData

from gclrec.common.errors import InputError
from gclrec.data.io.hetero import dataset_of_hetero, is_hetero


def graph() -> HeteroData:
    data = HeteroData()
    data["u"].num_nodes, data["i"].num_nodes = 4, 3
    data["u", "buys", "i"].edge_index = torch.tensor([[0, 3, 0], [2, 1, 0]])
    return data


def test_nodes_are_ids_and_edges_are_pairs() -> None:
    data = graph()
    data["u", "buys", "i"].time = torch.tensor([5, 6, 7])
    data["i", "rev_buys", "u"].edge_index = torch.tensor([[2, 1, 0], [0, 3, 0]])
    data["u"].x, data["i"].x = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.eye(3)
    assert is_hetero(data)
    assert not is_hetero({"user": []})
    found = dataset_of_hetero(data)
    pairs = found.interactions
    assert (pairs.num_users, pairs.num_items) == (4, 3)  # nodes without edges are kept
    assert pairs.user.tolist() == [0, 3, 0]
    assert pairs.item.tolist() == [2, 1, 0]
    assert pairs.time is not None
    assert pairs.time.tolist() == [5, 6, 7]
    assert found.user_attributes is not None
    assert found.user_attributes["x"].to_list() == [1.0, 2.0, 3.0, 4.0]
    assert found.item_attributes is not None
    assert found.item_attributes["x"].to_list() == torch.eye(3).tolist()


def test_other_graphs_are_refused() -> None:
    data = graph()
    data["u", "likes", "i"].edge_index = torch.tensor([[0], [1]])
    with pytest.raises(InputError, match=r"expected one edge type .*'buys'.*'likes'"):
        dataset_of_hetero(data)
    friends = HeteroData()
    friends["u"].num_nodes = 2
    friends["u", "knows", "u"].edge_index = torch.tensor([[0], [1]])
    with pytest.raises(InputError, match="joins nodes of one type"):
        dataset_of_hetero(friends)
    outside = graph()
    outside["u", "buys", "i"].edge_index = torch.tensor([[0, 9], [1, 1]])
    with pytest.raises(InputError, match="edges name u 0 to 9 of 4 nodes"):
        dataset_of_hetero(outside)
