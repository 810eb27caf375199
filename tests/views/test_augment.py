"""Augmentations on other people's data: a plain edge_index, PyG's HeteroData, and as a PyG transform."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torch_geometric.data import HeteroData
from torch_geometric.transforms import Compose, ToUndirected

import gclrec.views.transform
from gclrec.common.errors import InputError, InputWarning
from gclrec.graph.augmentations import AUGMENTATIONS
from gclrec.graph.bipartite import EDGE_TYPE, BipartiteGraph
from gclrec.views.augment import augment
from gclrec.views.views import VIEWS

every_augmentation = pytest.mark.parametrize("name", AUGMENTATIONS)
quiet = pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
RATES, BACK = ("user", "rates", "item"), ("item", "rev_rates", "user")


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def data(toy_graph: BipartiteGraph) -> HeteroData:
    """Ratings in no order, their reverse, attributes, and an unrelated edge type."""
    data = HeteroData()
    data["user"].num_nodes, data["item"].x = 12, torch.rand(10, 4)
    order = torch.randperm(40, generator=seeded())
    data[RATES].edge_index = toy_graph.edge_index[:, order]
    data[RATES].rating = (data[RATES].edge_index[0] * 100 + data[RATES].edge_index[1]).float()
    shuffle = torch.randperm(40, generator=seeded(5))
    data[BACK].edge_index = data[RATES].edge_index.flip(0)[:, shuffle]
    data[BACK].edge_attr = data[RATES].rating[shuffle, None].expand(40, 2)
    data["user", "trusts", "user"].edge_index = torch.tensor([[0, 1], [1, 2]])
    data["item", "like", "user"].edge_index = torch.tensor([[0, 1], [1, 2]])
    return data


# -- a plain edge_index --------------------------------------------------------------------------


@quiet
@every_augmentation
def test_edge_index(name: str, toy_graph: BipartiteGraph) -> None:
    edge_index = toy_graph.edge_index
    before = edge_index.clone()
    view = augment(edge_index, name, 0.4, generator=seeded(), num_users=12, num_items=10)
    expected = AUGMENTATIONS[name](toy_graph, 0.4, generator=seeded())
    assert torch.equal(view, expected.edge_index)
    assert torch.equal(edge_index, before)


@quiet
@every_augmentation
def test_graph_in_graph_out(name: str, toy_graph: BipartiteGraph) -> None:
    view = augment(toy_graph, name, 0.4, generator=seeded())
    assert isinstance(view, BipartiteGraph)
    expected = AUGMENTATIONS[name](toy_graph, 0.4, generator=seeded())
    assert torch.equal(view.edge_index, expected.edge_index)


def test_sizes_are_inferred(toy_graph: BipartiteGraph) -> None:
    """Sizes default to the largest numbers; with true sizes, nodes beyond them take part in the draws."""
    inferred = augment(toy_graph.edge_index, "edge_perturb", 0.9, generator=seeded())
    assert int(inferred[0].max()) <= 10
    assert int(inferred[1].max()) <= 8
    told = augment(toy_graph.edge_index, "node_drop", 0.5, generator=seeded(), num_users=12, num_items=10)
    whole = BipartiteGraph(12, 10, toy_graph.edge_index)
    assert torch.equal(told, AUGMENTATIONS["node_drop"](whole, 0.5, generator=seeded()).edge_index)
    empty = torch.empty(2, 0, dtype=torch.int64)
    assert torch.equal(augment(empty, "edge_drop"), empty)


def test_chains_and_strengths(toy_graph: BipartiteGraph) -> None:
    view = augment(toy_graph, "edge_drop:0.2+node_drop", 0.5, generator=seeded())
    generator = seeded()
    expected = AUGMENTATIONS["edge_drop"](toy_graph, 0.2, generator=generator)
    expected = AUGMENTATIONS["node_drop"](expected, 0.5, generator=generator)
    assert torch.equal(view.edge_index, expected.edge_index)


# -- HeteroData ----------------------------------------------------------------------------------


@every_augmentation
def test_hetero_data(name: str, data: HeteroData) -> None:
    """Both directions change equally and edge attributes follow their edges; the input is unchanged."""
    before = copy.deepcopy(data)
    if name == "edge_perturb":  # nothing can be known of a new pair
        del data[RATES].rating, data[BACK].edge_attr
    view = augment(data, name, 0.4, generator=seeded(), edge_type=RATES)
    assert isinstance(view, HeteroData)
    edges = set(map(tuple, view[RATES].edge_index.T.tolist()))
    assert edges == {(u, i) for i, u in view[BACK].edge_index.T.tolist()}
    assert (len(edges) < 40) == (name not in {"none", "feature_mask", "edge_perturb"})
    if name != "edge_perturb":
        user, item = view[RATES].edge_index
        assert torch.equal(view[RATES].rating, (user * 100 + item).float())
        item, user = view[BACK].edge_index
        assert torch.equal(view[BACK].edge_attr[:, 1], (user * 100 + item).float())
    assert torch.equal(view["user", "trusts", "user"].edge_index, before["user", "trusts", "user"].edge_index)
    assert torch.equal(view["item", "like", "user"].edge_index, before["item", "like", "user"].edge_index)
    assert view["item"].x.isnan().any() == (name == "feature_mask")
    assert view["user"].num_nodes == 12

    assert torch.equal(data[RATES].edge_index, before[RATES].edge_index)
    assert torch.equal(data[BACK].edge_index, before[BACK].edge_index)
    assert torch.equal(data["item"].x, before["item"].x)


def test_new_pairs_have_no_known_attributes(data: HeteroData) -> None:
    with pytest.raises(InputError, match="'rating' is given for each edge, but is not known"):
        augment(data, "edge_perturb", 0.5, generator=seeded(), edge_type=RATES)


@pytest.mark.parametrize("make", [list, tuple, np.array], ids=["list", "tuple", "array"])
def test_attributes_in_lists_and_arrays_go_along(make, data: HeteroData) -> None:
    data[RATES].word = make([f"{u}-{i}" for u, i in data[RATES].edge_index.T.tolist()])
    data[RATES].note = "of forty edges"
    data[RATES].pair_index = data[RATES].edge_index.numpy()
    view = augment(data, "edge_drop", 0.5, generator=seeded(), edge_type=RATES)[RATES]
    assert type(view.word) is type(data[RATES].word)
    assert list(view.word) == [f"{u}-{i}" for u, i in view.edge_index.T.tolist()]
    assert view.note == "of forty edges"
    assert np.array_equal(view.pair_index, view.edge_index.numpy())
    with pytest.raises(InputError, match="is given for each edge, but is not known"):
        augment(data, "edge_perturb", 0.5, generator=seeded(), edge_type=RATES)


def test_an_adjacency_is_refused(data: HeteroData) -> None:
    data[RATES].adj_t = torch.ones(10, 12).to_sparse_csr()
    for _ in range(2):
        with pytest.raises(InputError, match="holds 'adj_t'"):
            augment(data, "edge_drop", edge_type=RATES)
        data[RATES].pop("edge_index", None)


def test_labels_of_a_link_split_stay(data: HeteroData) -> None:
    data[RATES].edge_label_index = torch.zeros(2, 40, dtype=torch.int64)
    data[RATES].edge_label = torch.ones(40)
    view = augment(data, "edge_drop", 0.5, generator=seeded(), edge_type=RATES)
    assert view[RATES].edge_label_index.shape == (2, 40)
    assert view[RATES].edge_label.shape == (40,)


def test_the_edge_type_is_found_where_it_is_plain(data: HeteroData, toy_graph: BipartiteGraph) -> None:
    with pytest.raises(InputError, match=r"say which of .* holds the interactions"):
        augment(data, "edge_drop")
    with pytest.raises(InputError, match="is not among"):
        augment(data, "edge_drop", edge_type=("user", "buys", "item"))
    del data["user", "trusts", "user"], data["item", "like", "user"]
    assert augment(data, "edge_drop", 0.5, generator=seeded())[RATES].edge_index.shape[1] < 40
    ours = toy_graph.to_hetero_data()
    ours["user", "trusts", "user"].edge_index = torch.tensor([[0, 1], [1, 2]])
    assert augment(ours, "edge_drop", 0.5, generator=seeded())[EDGE_TYPE].edge_index.shape[1] < 40


def test_sizes_of_hetero_data_without_attributes() -> None:
    """PyG has no number of nodes here: it comes from the edges, without a warning."""
    data = HeteroData()
    data[RATES].edge_index = torch.tensor([[0, 1, 2], [0, 0, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        view = augment(data, "node_drop", 0.9, generator=seeded())
    assert view[RATES].edge_index.shape[1] <= 3


# -- as a transform ------------------------------------------------------------------------------


@quiet
@every_augmentation
def test_transform(name: str, toy_graph: BipartiteGraph) -> None:
    data = toy_graph.to_hetero_data()
    transform = gclrec.views.transform.Augment(name, 0.4, generator=seeded())
    view = transform(data)
    expected = augment(data, name, 0.4, generator=seeded())
    assert torch.equal(view[EDGE_TYPE].edge_index, expected[EDGE_TYPE].edge_index)
    assert data[EDGE_TYPE].edge_index.shape[1] == 40
    assert repr(transform) == f"Augment({name!r}, p=0.4)"
    both = Compose([ToUndirected(), gclrec.views.transform.Augment(name, 0.4)])(data)
    there, back = (both[kind].edge_index for kind in both.edge_types)
    assert torch.equal(there, back.flip(0))


def test_transform_can_be_sent_to_a_worker() -> None:
    transform = pickle.loads(pickle.dumps(gclrec.views.transform.Augment("edge_drop", 0.3)))
    assert repr(transform) == "Augment('edge_drop', p=0.3)"


def test_a_wrong_transform_is_reported_when_it_is_made() -> None:
    for name, p in (("drop_edge", 0.1), ("noise", 0.1), ("edge_drop", 1.5), ("edge_drop:-1", 0.1)):
        with pytest.raises(InputError):
            gclrec.views.transform.Augment(name, p)


class Copies(Dataset):
    """One item as often as asked, through a transform."""

    def __init__(self, data: HeteroData, transform: gclrec.views.transform.Augment) -> None:
        self.data, self.transform = data, transform

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int) -> list[int]:
        return self.transform(self.data)[RATES].edge_index.flatten().tolist()


def test_workers_draw_different_views(data: HeteroData) -> None:
    """And the same ones again from the same seeds."""
    epochs = []
    for _ in range(2):
        transform = gclrec.views.transform.Augment("edge_drop", 0.5, generator=seeded(), edge_type=RATES)
        loader = DataLoader(Copies(data, transform), None, num_workers=2, generator=seeded())
        epochs.append([tuple(view) for _ in range(2) for view in loader])
    assert epochs[0] == epochs[1]
    assert len(set(epochs[0])) == 8


# -- bad input -----------------------------------------------------------------------------------


def test_what_cannot_be_augmented(toy_graph: BipartiteGraph) -> None:
    for name in set(VIEWS) - set(AUGMENTATIONS):
        with pytest.raises(InputError, match=f"'{name}' acts inside an encoder"):
            augment(toy_graph, name)
    with pytest.raises(InputError, match="no ','"):
        augment(toy_graph, "edge_drop,node_drop")
    with pytest.raises(InputError, match="is not known"):
        augment(toy_graph, "drop_edge")
    with pytest.raises(InputError, match="got dict"):
        augment({}, "edge_drop")
    with pytest.raises(ValueError, match=r"got torch.int64 \(3,\)"):
        augment(torch.tensor([1, 2, 3]), "edge_drop")


def test_masking_nothing_is_reported_where_it_is_asked(toy_graph: BipartiteGraph) -> None:
    for data in (toy_graph, toy_graph.edge_index, toy_graph.to_hetero_data()):
        with pytest.warns(InputWarning, match="no attributes") as caught:
            augment(data, "feature_mask")
        assert caught[0].filename == __file__
