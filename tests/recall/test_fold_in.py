"""Vectors of new users and items: the encoder itself and slow sums are the oracle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gclrec.baselines import ials
from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.encoders import LAYER_WEIGHTS, LightGCN
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.recall.ridge import RIDGE, Ridge

from .folded_run import FoldedRun, folded_run

every_exponent = pytest.mark.parametrize("exponent", [0.5, 0.3])
SCORES = {"dot": (1.0, 1.0), "cosine": (0.0, 0.0), "calibrated": (0.0, 0.4)}


def own_lists(run: FoldedRun, side: str) -> Ragged:
    user, item = run.parts["train"]
    pairs = (user, item) if side == "user" else (item, user)
    return Ragged.from_pairs(*pairs, 30 if side == "user" else 60, distinct=True)


def slow_layers(run: FoldedRun) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every layer in float64, one node and one neighbour at a time."""
    user, item = run.parts["train"]
    du, di = np.bincount(user, minlength=30) * 1.0, np.bincount(item, minlength=60) * 1.0
    layers = [tuple(part.detach().double().numpy() for part in run.encoder.layer_zero)]
    for _ in range(3):
        users, items = np.zeros((30, 8)), np.zeros((60, 8))
        for u, i in zip(user, item, strict=True):
            weight = (du[u] * di[i]) ** -run.encoder.degree_exponent
            users[u] += layers[-1][1][i] * weight
            items[i] += layers[-1][0][u] * weight
        layers.append((users, items))
    return layers


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("layer_weights", LAYER_WEIGHTS)
@every_exponent
def test_training_users_fold_in_to_their_own_vectors(
    exponent: float, layer_weights: str, score: str, tmp_path: Path
) -> None:
    run = folded_run(tmp_path / "run", layer_weights, exponents=SCORES[score], degree_exponent=exponent)
    start = run.encoder.users.detach().numpy()
    found = run.fold_in.new_users(run.histories, start=start)
    some = run.histories.lengths > 0
    np.testing.assert_allclose(found[some], run.user_vectors[some], atol=1e-5, rtol=0)
    assert np.abs(run.user_vectors[some]).mean() > 1e-2
    if run.fold_in.weights[0] == 0:  # nothing of a user's own is in the vector
        np.testing.assert_array_equal(run.fold_in.new_users(run.histories), found)


@pytest.mark.parametrize("layer_weights", LAYER_WEIGHTS)
@every_exponent
def test_training_items_fold_in_to_their_own_vectors(
    exponent: float, layer_weights: str, tmp_path: Path
) -> None:
    """And what they send is what they sent in training."""
    run = folded_run(tmp_path / "run", layer_weights, degree_exponent=exponent)
    made = run.fold_in.new_items(own_lists(run, "item"), start=run.encoder.items.detach().numpy())
    warm = np.bincount(run.parts["train"][1], minlength=60) > 0
    np.testing.assert_allclose(made.vectors[warm], run.item_vectors[warm], atol=1e-5, rtol=0)
    np.testing.assert_allclose(made.sent[warm], run.fold_in.item_sent[warm], atol=1e-5, rtol=0)
    assert (run.fold_in.item_sent[~warm] == 0).all()


@pytest.mark.parametrize("layer_weights", LAYER_WEIGHTS)
def test_users_without_vectors_fold_in_exactly(layer_weights: str, toy_graph: BipartiteGraph) -> None:
    """Nothing of a user's own is in the vector, so a new user with the same items has the same one."""
    encoder = LightGCN(
        12, 10, dim=6, num_layers=2, init_std=1.0, layer_weights=layer_weights, user_vectors="items"
    )
    fold_in = FoldIn.of_layers(toy_graph, *encoder.as_polynomial(toy_graph))
    user, item = toy_graph.edge_index.numpy()
    final = encoder(toy_graph)
    found = fold_in.new_users(Ragged.from_pairs(user, item, 12, distinct=True))
    np.testing.assert_allclose(found, final.users.detach(), atol=1e-5, rtol=0)
    made = fold_in.new_items(
        Ragged.from_pairs(item, user, 10, distinct=True), start=encoder.items.detach().numpy()
    )
    known = np.bincount(item, minlength=10) > 0
    np.testing.assert_allclose(made.vectors[known], final.items.detach()[known], atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_layers", [1, 2, 4])
def test_any_number_of_layers(num_layers: int, toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=6, num_layers=num_layers, init_std=1.0)
    fold_in = FoldIn.of_layers(toy_graph, *encoder.layer_zero, encoder.layer_shares())
    user, item = toy_graph.edge_index.numpy()
    found = fold_in.new_users(
        Ragged.from_pairs(user, item, 12, distinct=True), start=encoder.users.detach().numpy()
    )
    np.testing.assert_allclose(found, encoder(toy_graph).users.detach().numpy(), atol=1e-5)


def test_least_squares_solve_for_new_nodes_as_in_training(toy_graph: BipartiteGraph, tmp_path: Path) -> None:
    """A new user with the items of one of training has its vector; what is loaded does the same."""
    scorer = ials(toy_graph, dim=4, unobserved=0.3, l2=0.02, l2_exponent=0.7, iterations=200)
    made = FoldIn.of_vectors(toy_graph, *scorer.vectors, least_squares=scorer.least_squares)
    made.save(tmp_path / "fold_in")
    user, item = toy_graph.edge_index.numpy()
    histories = Ragged.from_pairs(user, item, 12, distinct=True)
    backwards = Ragged.from_lists([items[::-1] for items in histories.tolist()])
    for fold_in in (made, FoldIn.load(tmp_path / "fold_in")):
        found = fold_in.new_users(histories)
        np.testing.assert_allclose(found, scorer.vectors.users, atol=1e-6)
        np.testing.assert_array_equal(fold_in.new_users(backwards), found)
        assert np.abs(found[:11]).min() > 0
        assert (found[11] == 0).all()  # a user without items
        back = fold_in.returning_users(found[:1], np.array([0]), histories.take([0]), histories.take([5]))
        np.testing.assert_allclose(back, found[[5]], atol=1e-6)
        items = fold_in.new_items(Ragged.from_pairs(item, user, 10, distinct=True))
        np.testing.assert_allclose(items.vectors, scorer.vectors.items, atol=1e-3)  # nearly converged
        np.testing.assert_array_equal(items.sent, items.vectors)


def test_no_layer_is_matrix_factorisation(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=6, num_layers=0)
    fold_in = FoldIn.of_layers(toy_graph, *encoder.layer_zero, encoder.layer_shares())
    same = FoldIn.of_vectors(toy_graph, encoder.users, encoder.items)
    assert not fold_in.propagates
    history = Ragged.from_lists([[1, 4]])
    np.testing.assert_array_equal(fold_in.new_users(history), same.new_users(history))


@every_exponent
def test_a_new_user_by_slow_sums(exponent: float, tmp_path: Path) -> None:
    """Degrees of items do not count the new edges, cold items count for nothing, the own share is 0."""
    run = folded_run(tmp_path / "run", "mean", degree_exponent=exponent)
    layers = slow_layers(run)
    degree = np.bincount(run.parts["train"][1], minlength=60).astype(float)
    histories = [[3, 7, 20], [5], [50, 7], [], [51]]
    found = run.fold_in.new_users(Ragged.from_lists(histories))
    for row, history in enumerate(histories):
        known = [i for i in history if degree[i]]
        expected = np.zeros(8)
        for i in known:
            expected += sum(layers[n][1][i] for n in range(3)) / 4 * (len(known) * degree[i]) ** -exponent
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_users_do_not_depend_on_each_other(tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run")
    whole = run.fold_in.new_users(run.histories)
    np.testing.assert_array_equal(run.fold_in.new_users(run.histories), whole)
    for row in range(30):
        one = run.fold_in.new_users(run.histories.take([row]))
        np.testing.assert_allclose(one[0], whole[row], atol=1e-6)


@every_exponent
def test_a_new_item_by_slow_sums(exponent: float, tmp_path: Path) -> None:
    """With layer 0 it is the encoder's formula; without users its layer-0 share is all it has."""
    run = folded_run(tmp_path / "run", "mean", degree_exponent=exponent)
    layers = slow_layers(run)
    degree = np.bincount(run.parts["train"][0], minlength=30).astype(float)
    start = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    start[2] = np.nan
    audience = Ragged.from_lists([[4, 9, 11], [], [2, 6]])
    made = run.fold_in.new_items(audience, start=start)

    def received(users: list[int], first: int) -> np.ndarray:
        each = [sum(layers[n][0][u] for n in range(first)) / 4 * degree[u] ** -exponent for u in users]
        return sum(each) * len(each) ** -exponent

    np.testing.assert_allclose(made.vectors[0], start[0] / 4 + received([4, 9, 11], 3), atol=1e-5)
    np.testing.assert_allclose(made.vectors[1], start[1] / 4, atol=1e-6)
    guessed = run.fold_in.item_ridge(received([2, 6], 3)[None])[0]
    np.testing.assert_allclose(made.vectors[2], guessed / 4 + received([2, 6], 3), atol=1e-5)
    # What it sends: its layers 0 to 2, its layers 1 and 2 made of the users' layers 0 and 1.
    sent = (start[0] / 4 + received([4, 9, 11], 2)) * 3**-exponent
    np.testing.assert_allclose(made.sent[0], sent, atol=1e-5)
    np.testing.assert_allclose(made.sent[1], start[1] / 4, atol=1e-6)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("layer_weights", ["mean", "last", None])
def test_returning_users(layer_weights: str | None, score: str, tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run", layer_weights, exponents=SCORES[score])
    rows = np.array([4, 9, 12])
    before = run.histories.take(rows)
    trained = run.user_vectors[rows]
    same = run.fold_in.returning_users(trained, rows, before, before)
    np.testing.assert_allclose(same, trained, atol=1e-5)
    now = before.union(Ragged(np.arange(4), rows))
    moved = run.fold_in.returning_users(trained, rows, before, now)
    assert not np.allclose(moved[0], trained[0], atol=1e-3)
    if layer_weights is not None:
        start = run.encoder.users.detach().numpy()[rows]
        np.testing.assert_allclose(moved, run.fold_in.new_users(now, start=start), atol=1e-5)


def test_lengths_follow_the_score(tmp_path: Path) -> None:
    runs = {name: folded_run(tmp_path / name, None, exponents=each) for name, each in SCORES.items()}
    audience = Ragged.from_lists([[4, 9, 11]])
    vectors = {name: run.fold_in.new_items(audience).vectors[0] for name, run in runs.items()}
    lengths = {name: np.linalg.norm(vector) for name, vector in vectors.items()}
    assert lengths["cosine"] == pytest.approx(1)
    assert lengths["calibrated"] == pytest.approx(lengths["dot"] ** 0.4, rel=1e-5)
    users = runs["calibrated"].fold_in.new_users(runs["dot"].histories)
    np.testing.assert_allclose(np.linalg.norm(users, axis=1), 1, rtol=1e-5)


def test_the_guess_is_ridge_regression() -> None:
    """By the minimum of what it minimises, found by gradient steps on the textbook's loss."""
    random = np.random.default_rng(2)
    received, start = random.normal(size=(50, 4)) + 1, random.normal(size=(50, 4)) - 2
    guess = Ridge.fit(received, start)
    rows, targets = (torch.tensor(part - part.mean(0)) for part in (received, start))
    penalty = RIDGE * float((rows**2).sum()) / 4
    matrix = torch.tensor(guess.matrix, dtype=torch.float64, requires_grad=True)
    loss = (rows @ matrix - targets).square().sum() + penalty * matrix.square().sum()
    loss.backward()
    assert matrix.grad is not None
    assert matrix.grad.abs().max() < 1e-4
    np.testing.assert_allclose(guess(received.astype(np.float32)).mean(0), start.mean(0), atol=1e-5)
    nothing = Ridge.fit(np.empty((0, 4)), np.empty((0, 4)))
    assert (nothing(np.ones((2, 4), dtype=np.float32)) == 0).all()


def test_guessed_vectors_rank_a_users_own_taste() -> None:
    """A checkerboard: even users have even items, odd users odd ones; new users and items follow suit."""
    user, item = np.nonzero((np.arange(40)[:, None] + np.arange(30)) % 2 == 0)
    graph = BipartiteGraph(40, 30, torch.from_numpy(np.stack([user, item])))
    taste = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    noise = torch.randn(70, 2, generator=torch.Generator().manual_seed(1)) / 10
    users, items = taste[torch.arange(40) % 2] + noise[:40], taste[torch.arange(30) % 2] + noise[40:]
    fold_in = FoldIn.of_vectors(graph, users, items)
    vectors = fold_in.new_users(Ragged.from_lists([[0, 2], [1, 3]]))
    scores = vectors @ items.numpy().T
    assert scores[0, ::2].min() > scores[0, 1::2].max()
    assert scores[1, 1::2].min() > scores[1, ::2].max()
    made = fold_in.new_items(Ragged.from_lists([[5, 7]]))
    scores = made.vectors @ users.numpy().T
    assert scores[0, 1::2].min() > scores[0, ::2].max()


# -- files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_weights", ["mean", None])
def test_saved_and_loaded(layer_weights: str | None, tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run", layer_weights, exponents=(0.0, 0.4), degree_exponent=0.3)
    found = FoldIn.load(run.path / "fold_in")
    assert found.degree_exponent == (0.5 if layer_weights is None else 0.3)
    assert found.weights == run.fold_in.weights
    assert found.exponents == (0.0, 0.4)
    assert found.trained_on == ("train",)
    audience = Ragged.from_lists([[4, 9, 11]])
    for ours, theirs in zip(found.new_items(audience), run.fold_in.new_items(audience), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(found.new_users(run.histories), run.fold_in.new_users(run.histories))
    np.testing.assert_array_equal(found.user_length, run.fold_in.user_length)


@pytest.mark.parametrize("name", ["items.safetensors", "users.safetensors", "manifest.json"])
def test_damaged_files_are_named(name: str, tmp_path: Path) -> None:
    run = folded_run(tmp_path / "run")
    path = run.path / "fold_in" / name
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match=name):
        FoldIn.load(run.path / "fold_in")
    path.unlink()
    with pytest.raises(InputError, match=name):
        FoldIn.load(run.path / "fold_in")
