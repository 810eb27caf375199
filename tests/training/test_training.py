"""The loop: batches, the objective beside loops, state, resuming, and data whose right answer is known."""

from __future__ import annotations

import itertools
import math
import warnings
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn.utils import parameters_to_vector

import gclrec
from gclrec.common.errors import InputError, InputWarning
from gclrec.contrast import SSL
from gclrec.contrast.two_views import TwoViews
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings, LightGCN, Sequences
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.ranking_losses import LOSSES, sampled_softmax
from gclrec.losses.temperature import Adaptive
from gclrec.negatives.registry import NEGATIVES, build_sampler, uniform
from gclrec.runs.checkpoint import load_state, save_state
from gclrec.runs.folder import RunFolder, free_name
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.validation import validate
from gclrec.training.batches import Batch, KnownItems, PairBatches
from gclrec.training.fit import fit
from gclrec.training.model import Model
from gclrec.training.objective import Objective
from gclrec.training.prepare import config_of
from gclrec.training.recorder import fit_run
from gclrec.training.trainer import Trainer
from gclrec.views.views import VIEWS, make_view, parse_augmentations
from tests.encoders.content.test_content import BOTH

SMALL = {
    "dim": 8,
    "num_layers": 2,
    "batch_size": 16,
    "ks": (1, 5),
    "select": "recall@5",
    "metrics": ("recall", "ndcg"),
}


def pairs_of(users: int, items: int, user: np.ndarray, item: np.ndarray) -> Interactions:
    names = Vocabulary(pl.Series([f"u{n:03d}" for n in range(users)])), Vocabulary(pl.Series(range(items)))
    return Interactions(*names, np.asarray(user, dtype=np.int64), np.asarray(item, dtype=np.int64))


def checkerboard(users: int = 24, items: int = 16) -> Split:
    """Even users have all even items, odd users all odd ones; one item of each user is held out."""
    user, item = np.nonzero((np.add.outer(np.arange(users), np.arange(items)) % 2) == 0)
    place = np.concatenate([np.arange(count) for count in np.bincount(user)])
    held = place == user // 2 % (items // 2)
    valid = place == (user // 2 + 1) % (items // 2)
    every = pairs_of(users, items, user, item)
    return Split(every.select(~held & ~valid), every.select(valid), every.select(held), name="random")


def test_a_run_that_is_best_at_its_beginning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = iter([0.5, 0.6, *(0.4 for _ in range(18))])

    def validated(model: Model, split: Split, config: TrainConfig) -> tuple[Embeddings, dict[str, float]]:
        return model.embeddings(), {f"valid/{config.selected}": next(figures)}

    monkeypatch.setattr("gclrec.training.fit.validated", validated)
    config = TrainConfig(**{**SMALL, "epochs": 20})
    with pytest.warns(InputWarning, match="is best at 2 of 20, and falls from there"):
        assert fit(config, checkerboard()).epoch == 2
    figures = iter([0.5, 0.6, 0.7, *(0.4 for _ in range(17))])
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        assert fit(config, checkerboard()).epoch == 3


def test_batches_hold_every_pair_once(toy_graph: BipartiteGraph) -> None:
    batches = PairBatches(toy_graph, 7, uniform, torch.Generator().manual_seed(0))
    seen = [torch.stack([batch.users, batch.positives]) for (batch,) in batches]
    assert len(seen) == len(batches) == math.ceil(40 / 7)
    keys = torch.cat(seen, dim=1)
    found = sorted(map(tuple, keys.T.tolist()))
    assert found == sorted(map(tuple, toy_graph.edge_index.T.tolist()))
    again = [torch.stack([batch.users, batch.positives]) for (batch,) in batches]
    assert not torch.equal(torch.cat(again, dim=1), keys)  # a new order


def test_a_user_who_has_seen_everything_does_not_hang_training() -> None:
    edges = torch.tensor([[0, 0, 0, 1], [0, 1, 2, 1]])
    batches = PairBatches(BipartiteGraph(2, 3, edges), 8, uniform, torch.Generator())
    assert [batch.users.tolist() for (batch,) in batches] == [[1]]
    with pytest.raises(ValueError, match="nothing to train on"):
        PairBatches(BipartiteGraph(1, 3, edges[:, :3]), 8, uniform, torch.Generator())


@pytest.mark.parametrize("name", NEGATIVES)
def test_items_without_interactions_are_no_negatives_where_attributes_are_used(name: str) -> None:
    """Six of ten items are known; user 0 has five of them, user 1 all, so there is no negative for user 1."""
    pairs = [(0, i) for i in (1, 3, 4, 6, 9)] + [(1, i) for i in (1, 3, 4, 6, 8, 9)] + [(2, 8)]
    graph = BipartiteGraph(3, 10, torch.tensor(pairs).T.contiguous())
    generator = torch.Generator().manual_seed(0)
    known = KnownItems.of(graph)
    shown = known.renumbered(torch.tensor([[0, 0, 2, 2], [8, 7, 4, 5]]))  # 5 and 7 are not known
    assert known.items[shown[1]].tolist() == [8, 4]
    sampler = build_sampler(name, known.graph, exposed=shown)
    batches = PairBatches(graph, 3, sampler, generator, known=known)
    for _ in range(10):
        for (batch,) in batches:
            assert set(batch.users.tolist()) <= {0, 2}
            assert set(batch.negatives.flatten().tolist()) <= {1, 3, 4, 6, 8, 9}
            assert graph.contains(batch.users, batch.positives).all()
            if batch.negatives.dim() == 2:
                own = batch.users[:, None].expand_as(batch.negatives)
                assert not graph.contains(own.flatten(), batch.negatives.flatten()).any()


def test_objective_is_the_sum_of_its_formulas(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1))
    batch = Batch(torch.tensor([0, 3, 3, 7]), torch.tensor([1, 2, 1, 8]), torch.tensor([[4], [5], [0], [9]]))
    chain, _ = parse_augmentations("edge_drop:0.4")
    generator = torch.Generator().manual_seed(5)
    views = tuple(make_view(chain, toy_graph, generator=generator, num_layers=2) for _ in range(2))
    objective = Objective(
        l2_weight=0.3, ssl_weight=0.7, contrast=TwoViews(encoder, toy_graph, temperature=0.5)
    )
    total, parts = objective(batch, encoder, toy_graph, views)

    users, items = (part.detach() for part in encoder(toy_graph))
    expected = 0.0
    for u, p, n in zip(batch.users, batch.positives, batch.negatives[:, 0], strict=True):
        margin = float(users[u] @ items[p] - users[u] @ items[n])
        expected += math.log(1 + math.exp(-margin)) / 4
        rows = (encoder.users[u], encoder.items[p], encoder.items[n])
        expected += 0.3 * sum((row @ row).item() for row in rows) / 2 / 4
    for side, nodes in ((0, {0, 3, 7}), (1, {1, 2, 8})):
        first, second = (list(view.encode(encoder))[side].detach() for view in views)
        for a in nodes:
            cosines = {b: float(torch.cosine_similarity(first[a], second[b], dim=0)) / 0.5 for b in nodes}
            expected -= 0.7 * (cosines[a] - math.log(sum(map(math.exp, cosines.values())))) / len(nodes)
    assert float(total.detach()) == pytest.approx(expected, rel=1e-4)
    assert float(sum(parts.values())) == pytest.approx(expected, rel=1e-4)
    for gradient in torch.autograd.grad(total, encoder.layer_zero):
        assert (gradient != 0).any()


@pytest.mark.parametrize("shared", [False, True])
def test_several_negatives_weigh_as_much_as_one(toy_graph: BipartiteGraph, shared: bool) -> None:
    """The main loss gets what the batch holds; L2 counts one negative for each pair."""
    encoder = LightGCN(12, 10, dim=4, num_layers=2, generator=torch.Generator().manual_seed(1))
    negatives = torch.tensor([4, 5, 0]) if shared else torch.tensor([[4, 5, 0], [5, 6, 9]])
    log_weight = torch.tensor([[0.0, 1.0, 0.5], [0.3, -torch.inf, 0.0]])
    batch = Batch(torch.tensor([0, 3]), torch.tensor([1, 2]), negatives, log_weight)
    own = {"temperature": 0.4, "score": "cosine"}
    _, parts = Objective(l2_weight=0.3, loss="softmax", loss_settings=own)(batch, encoder, toy_graph)

    users, items = encoder(toy_graph)
    rows = users[batch.users], items[batch.positives], items[negatives]
    assert float(parts["softmax"]) == pytest.approx(float(sampled_softmax(*rows, log_weight, **own).detach()))
    squares = [
        part.square().sum(-1).mean()
        for part in (encoder.users[batch.users], encoder.items[batch.positives], encoder.items[negatives])
    ]
    assert float(parts["l2"]) == pytest.approx(0.3 * float(sum(squares).detach()) / 2)


@pytest.mark.parametrize(
    ("loss", "negatives"),
    [
        (loss, name)
        for loss, entry in LOSSES.items()
        if loss != "none"
        for name in (NEGATIVES if entry.needs_negatives else ("uniform",))
    ],
)
def test_every_loss_learns_from_every_kind_of_negatives(loss: str, negatives: str) -> None:
    """On the checkerboard most held-out items rank above those of the other colour."""
    split = checkerboard()
    graph = BipartiteGraph.from_interactions(split.train)
    own = {"batch_size": 32, "learning_rate": 0.05, "uniformity_weight": 0.3}
    config = TrainConfig(loss=loss, negatives=negatives, aug="none", **(SMALL | own))
    shown = torch.stack([torch.arange(24), (torch.arange(24) + 1) % 16])  # of the other colour
    trainer = Trainer(config, graph, exposed=shown)
    losses = [trainer.run_epoch(epoch) for epoch in range(1, 31)]
    assert losses[-1][loss] < losses[0][loss]
    users, items = trainer.model.embeddings()
    user, item = torch.from_numpy(split.test.user), torch.from_numpy(split.test.item)
    scores = users @ items.T
    other = (torch.arange(24)[:, None] + torch.arange(16)) % 2 == 1
    best_other = scores.masked_fill(~other, -torch.inf).amax(1)
    assert (scores[user, item] > best_other[user]).float().mean() > 0.8  # by chance 0.1


@pytest.mark.parametrize(
    "settings",
    [
        {"ssl": "byol", "momentum": 0.9},
        {"ssl": "byol", "ssl_target": "history", "momentum": 0.05},
        {"ssl": "neighbour", "neighbour_form": "sccf"},
        {"ssl": "neighbour", "neighbour_form": "lightccf"},
        {"ssl": "neighbour", "neighbour_form": "unseen"},
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_contrasts_that_know_the_interactions_learn_without_a_ranking_loss(
    settings: dict[str, object],
) -> None:
    """On the checkerboard most held-out items rank above those of the other colour."""
    split = checkerboard()
    graph = BipartiteGraph.from_interactions(split.train)
    own = {"batch_size": 32, "learning_rate": 0.05, "ssl_weight": 1.0}
    trainer = Trainer(TrainConfig(loss="none", aug="edge_drop:0.1", **(SMALL | own | settings)), graph)
    losses = [trainer.run_epoch(epoch) for epoch in range(1, 31)]
    assert losses[0].keys() == {"total", "l2", "ssl"}
    assert losses[-1]["ssl"] < losses[0]["ssl"]
    users, items = trainer.model.embeddings()
    scores = users @ items.T
    user, item = torch.from_numpy(split.test.user), torch.from_numpy(split.test.item)
    other = (torch.arange(24)[:, None] + torch.arange(16)) % 2 == 1
    best_other = scores.masked_fill(~other, -torch.inf).amax(1)
    assert (scores[user, item] > best_other[user]).float().mean() > 0.8  # by chance 0.1


@pytest.mark.parametrize("aug", [f"{a}+{b}" for a, b in itertools.product(VIEWS, repeat=2)])
def test_every_composition_trains_from_python(toy_graph: BipartiteGraph, aug: str) -> None:
    trainer = Trainer(validate(TrainConfig(aug=aug, aug_p=0.3, learning_rate=0.05, **SMALL)), toy_graph)
    before = trainer.model.embeddings()
    for epoch in (1, 2):
        assert all(map(math.isfinite, trainer.run_epoch(epoch).values()))
    after = trainer.model.embeddings()
    assert (after.users != before.users).any(1).sum() >= 11  # user 11 has no interaction
    assert torch.isfinite(after.items).all()


@pytest.mark.parametrize("method", [name for name in METHODS if "baseline" not in METHODS[name].settings])
def test_half_precision_trains_every_method(method: str, toy_graph: BipartiteGraph) -> None:
    """A step in half precision loses and moves as one in single precision does, but for rounding."""
    settings = {**METHODS[method].settings, "dim": 8, "batch_size": 24, "seed": 3}
    losses, moved = [], []
    for precision in ("single", "half", "half_propagation"):
        given = {"attributes": BOTH} if "attributes" in settings else {}
        trainer = Trainer(TrainConfig(**settings, precision=precision), toy_graph, **given)
        before = parameters_to_vector(trainer.model.encoder.parameters()).detach().clone()
        losses.append(trainer.run_epoch(1)["total"])
        moved.append(parameters_to_vector(trainer.model.encoder.parameters()).detach() - before)
    for loss, move in zip(losses[1:], moved[1:], strict=True):
        assert loss == pytest.approx(losses[0], rel=0.02)
        assert float(torch.cosine_similarity(moved[0], move, dim=0)) > 0.9


@pytest.mark.parametrize("aug", ["none", "edge_drop"])
@pytest.mark.parametrize("encoder", ["mf", "lightgcn"])
def test_same_seed_same_numbers(toy_graph: BipartiteGraph, aug: str, encoder: str) -> None:
    def trained(seed: int) -> torch.Tensor:
        trainer = Trainer(TrainConfig(aug=aug, encoder=encoder, seed=seed, **SMALL), toy_graph)
        trainer.run_epoch(1)
        return trainer.model.embeddings().users

    assert torch.equal(trained(0), trained(0))
    assert not torch.equal(trained(0), trained(1))


HISTORIES = {"encoder": "two_tower", "history": "attention", "history_length": 4}
REMEMBERING = [
    *({"ssl": ssl} for ssl in SSL),
    {"ssl_negatives": "all", "head_layers": 2},
    {"ssl": "moco", "queue_size": 5},
    {"ssl": "ncl", "cluster_after": 0, "clusters": 2},
    {"ssl": "infonce+content+nearest:0.5"},
    {"ssl": "cross_layer+features"},
    {"ssl": "moco+swav:0.5", "head_layers": 1, "queue_size": 5, "prototype_queue": 7},
    {"ssl": "byol", "ssl_target": "history", "loss": "none"},
    {"loss": "softmax", "negatives": "queue", "queue_size": 30, "logq": True},
    {"loss": "softmax", "loss_temperature": "learned", "temperature": "learned"},
    {"loss": "softmax", "loss_temperature": "adaptive", "negatives": "queue"},
    {"loss": "bsl", "loss_temperature": "adaptive:0.4", "ssl": "cross_layer"},
]


@pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize("hidden", [0.0, 0.5], ids=["", "id_dropout"])
@pytest.mark.parametrize("settings", REMEMBERING, ids=lambda settings: "-".join(map(str, settings.values())))
def test_state_taken_out_and_put_back_goes_on_bit_for_bit(
    toy_graph: BipartiteGraph, tmp_path: Path, settings: dict[str, object], hidden: float
) -> None:
    aug = "none" if SSL[str(settings.get("ssl", "infonce"))].views == 0 else "edge_drop:0.3"
    given, more = {}, {}
    if hidden:
        given, more = {"attributes": BOTH}, {"attributes": "input", "id_dropout": hidden}
    if "features" in str(settings.get("ssl")):
        given, more = {"attributes": BOTH}, {"attributes": "input", "id_dropout": hidden}
    elif "content" in str(settings.get("ssl")):
        given, more = {"attributes": BOTH}, {"attributes": "map"}
    elif settings.get("ssl") == "histories":
        given["sequences"] = Sequences(*toy_graph.edge_index, 12, 10, length=4)
        more |= HISTORIES
    config = validate(TrainConfig(aug=aug, layer_weights="learned", **(SMALL | more | settings)))
    straight = Trainer(config, toy_graph, **given)
    straight.run_epoch(1)
    save_state(tmp_path / "s", straight.state(), {"epoch": 1})
    expected = straight.run_epoch(2)

    tensors, values = load_state(tmp_path / "s")
    other = Trainer(config, toy_graph, **given)
    other.load_state(tensors)
    assert values == {"epoch": 1}
    assert other.run_epoch(2) == expected
    for name, value in other.state().items():
        same = {"rtol": 0, "atol": 0, "equal_nan": True}  # what validation has not chosen yet is none
        torch.testing.assert_close(value, straight.state()[name], **same, msg=name)


@pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")
def test_a_checkpoint_without_the_generator_of_the_twin_is_taken(toy_graph: BipartiteGraph) -> None:
    """Version 0.1.0 did not save it."""
    config = validate(TrainConfig(ssl="moco", attributes="input", id_dropout=0.5, **SMALL))
    trainer = Trainer(config, toy_graph, attributes=BOTH)
    trainer.run_epoch(1)
    tensors = {name: value for name, value in trainer.state().items() if not name.startswith("generator.")}
    assert len(tensors) == len(trainer.state()) - 1
    other = Trainer(config, toy_graph, attributes=BOTH)
    other.load_state(tensors)
    assert torch.equal(other.model.embeddings().users, trainer.model.embeddings().users)


@pytest.mark.filterwarnings("ignore:attributes age:gclrec.common.errors.InputWarning")
@pytest.mark.parametrize(
    ("encoder", "settings"),
    [
        *((name, {"ssl": "ncl", "cluster_after": 0, "clusters": 2}) for name in ("lightgcn", "sage")),
        *(
            (name, own)
            for name in ("lightgcn", "sage", "two_tower")
            for own in (
                {"ssl": "byol", "ssl_target": "history"},
                {"loss": "softmax", "loss_temperature": "adaptive"},
            )
        ),
    ],
)
def test_statistics_are_taken_with_no_id_hidden(
    toy_graph: BipartiteGraph, encoder: str, settings: dict[str, object]
) -> None:
    """Prototypes, first targets and adaptive temperatures are the same whatever the share of hidden ids."""
    found = []
    for hidden in (0.0, 0.9):
        own = {"attributes": "input", "id_dropout": hidden, "aug": "none", "encoder": encoder}
        config = validate(TrainConfig(**(SMALL | own | settings)))
        trainer = Trainer(config, toy_graph, attributes=BOTH)
        before = trainer.generator.get_state()
        if isinstance(trainer.model.objective.temperature, Adaptive):
            users = torch.arange(12)
            trainer.model.objective.temperature.observe(users, users * 0.2)
        trainer.model.train()
        trainer.model.objective.begin_epoch(1, trainer.model.encoder, trainer.model.graph)
        assert trainer.model.encoder.training
        assert torch.equal(trainer.generator.get_state(), before)
        found.append(trainer.model.objective.state_dict())
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"not a checkpoint"])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, damage) -> None:
    path = tmp_path / "last.safetensors"
    save_state(path, {"x": torch.ones(100)}, {})
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"last\.safetensors") as caught:
        load_state(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("aug", ["none", "edge_drop:0.2"])
def test_checkerboard_is_solved(tmp_path: Path, aug: str) -> None:
    """Every user's held-out item has the colour of the others, so it must be ranked first."""
    config = TrainConfig(aug=aug, epochs=40, learning_rate=0.05, **SMALL)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), checkerboard())
    result = fit_run(folder)
    assert result.values["metrics"]["test/all/recall@1"] == 1.0
    assert result.validated


def test_losses_fall(tmp_path: Path) -> None:
    config = TrainConfig(epochs=15, ssl_weight=0.1, learning_rate=0.05, **SMALL)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), checkerboard())
    fit_run(folder)
    lines = folder.metrics()
    assert [line["epoch"] for line in lines] == list(range(1, 16))
    for part in ("total", "bpr", "ssl"):
        assert lines[-1][f"loss/{part}"] < lines[0][f"loss/{part}"]
    needed = {"epoch", "loss/total", "train_seconds", "eval_seconds", "peak_rss_mb", "valid/all/recall@5"}
    assert all(needed <= line.keys() for line in lines)


class StopAfter:
    """A callback that interrupts a run in the middle of an epoch, as Ctrl-C does."""

    def __init__(self, epoch: int, phase: str = "select") -> None:
        self.stop, self.where, self.at = epoch, phase, ""

    def on_phase_start(self, phase: str, epoch: int, epochs: int) -> None:
        self.at, self.now = phase, epoch

    def on_batch_end(self, batch: int, batches: int, losses: dict[str, float]) -> None:
        if (self.at, self.now) == (self.where, self.stop):
            raise KeyboardInterrupt

    def on_epoch_end(self, record: dict[str, object], best_epoch: int | None) -> None:
        self.now += 1


@pytest.mark.parametrize(
    ("phase", "epoch", "refit"), [("select", 1, False), ("select", 4, True), ("refit", 2, True)]
)
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, phase: str, epoch: int, refit: bool
) -> None:
    config = TrainConfig(epochs=6, learning_rate=0.02, aug="edge_drop:0.2", refit=refit, **SMALL)
    straight = fit_run(RunFolder.create(tmp_path / "a", config.to_dict(), checkerboard()))

    broken = RunFolder.create(tmp_path / "b", config.to_dict(), checkerboard())
    with pytest.raises(KeyboardInterrupt):
        fit_run(broken, callbacks=[StopAfter(epoch, phase)])
    with (broken.path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "select", "epoch": 99}\n{"phase"')  # what a kill in the middle may leave
    resumed = fit_run(RunFolder.open(broken.path))

    assert resumed.values["metrics"] == straight.values["metrics"]
    first, second = RunFolder(tmp_path / "a"), RunFolder(tmp_path / "b")
    timeless = [
        [{k: v for k, v in line.items() if "seconds" not in k and "rss" not in k} for line in run.metrics()]
        for run in (first, second)
    ]
    assert timeless[0] == timeless[1]
    for name in ("last", "best"):
        tensors = [load_state(run.path / "checkpoint" / f"{name}.safetensors")[0] for run in (first, second)]
        assert tensors[0].keys() == tensors[1].keys()
        assert all(torch.equal(tensors[0][key], tensors[1][key]) for key in tensors[0])


def test_best_epoch_is_chosen_on_validation_and_patience_stops(tmp_path: Path) -> None:
    config = TrainConfig(epochs=60, learning_rate=0.05, patience=3, **SMALL)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), checkerboard())
    result = fit_run(folder)
    lines = folder.metrics()
    values = [line["valid/all/recall@5"] for line in lines]
    assert result.values["epochs"] == values.index(max(values)) + 1
    assert len(lines) == result.values["epochs"] + 3 < 60


def test_refit_trains_on_validation_pairs_too_for_the_chosen_length(tmp_path: Path) -> None:
    config = TrainConfig(epochs=5, learning_rate=0.02, refit=True, **SMALL)
    split = checkerboard()
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), split)
    result = fit_run(folder)
    refitted = [line for line in folder.metrics() if line["phase"] == "refit"]
    assert len(refitted) == result.values["epochs"]
    assert not any(name.startswith("valid/") for line in refitted for name in line)
    degrees = pl.read_parquet(folder.path / "embeddings" / "users.parquet")["degree"]
    assert degrees.sum() == len(split.train) + len(split.valid)


def test_without_validation_the_last_epoch_stands(tmp_path: Path) -> None:
    split = checkerboard()
    nothing = split.valid.select(np.zeros(len(split.valid), dtype=bool))
    config = TrainConfig(epochs=3, **SMALL)
    folder = RunFolder.create(
        tmp_path / "run", config.to_dict(), Split(split.train, nothing, split.test, name="random")
    )
    result = fit_run(folder)
    assert not result.validated
    assert result.values["epochs"] == 3


def test_run_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    config = TrainConfig(**SMALL)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), checkerboard())
    assert config_of(folder) == config
    stored, made = folder.split(), checkerboard()
    assert stored.train.users == made.train.users
    assert (stored.test.pair_keys == made.test.pair_keys).all()
    with pytest.raises(InputError, match="exists already"):
        RunFolder.create(tmp_path / "run", config.to_dict(), checkerboard())
    with pytest.raises(InputError, match="no such run folder"):
        RunFolder.open(tmp_path / "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        RunFolder.create(tmp_path / "file" / "run", config.to_dict(), checkerboard())
    (folder.path / "split" / "test.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"test\.parquet"):
        folder.split()


def test_names_of_runs_do_not_collide(tmp_path: Path) -> None:
    first = free_name(tmp_path, "gowalla-lightgcn-edge_drop:0.1")
    assert first.name == "gowalla-lightgcn-edge_drop_0.1-1"
    first.mkdir()
    assert free_name(tmp_path, "gowalla-lightgcn-edge_drop:0.1").name.endswith("-2")


def test_tensors_of_another_precision_are_refused() -> None:
    run = gclrec.fit("synthetic-60x40x600", epochs=1, dim=4, loss="bpr")
    model = run.result.model
    assert model is not None
    with pytest.raises(InputError, match=r"mine: does not fit .* holds torch\.float64, expected"):
        model.load({name: value.double() for name, value in model.state_dict().items()}, "mine")
