"""Starts, schedules and what items are ranked by."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gclrec.common.errors import InputWarning
from gclrec.common.schedules import SCHEDULES, factor
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings, LightGCN
from gclrec.encoders.init import STARTS
from gclrec.evaluation import scoring as scoring_module
from gclrec.evaluation.evaluator import evaluate
from gclrec.evaluation.scoring import SCORINGS, Scoring, calibrated
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.runs.checkpoint import load_state
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.recorder import fit_run
from gclrec.training.trainer import Trainer
from tests.training.test_training import SMALL, checkerboard, pairs_of


@pytest.mark.parametrize("name", STARTS)
def test_a_start_is_determined_by_its_seed(toy_graph: BipartiteGraph, name: str) -> None:
    def started(seed: int) -> torch.Tensor:
        trainer = Trainer(TrainConfig(init=name, seed=seed, **SMALL), toy_graph)
        return torch.cat([rows.detach() for rows in trainer.model.encoder.layer_zero])

    assert torch.equal(started(3), started(3))
    assert not torch.equal(started(3), started(4))  # also spectral: user 11 has no interaction


def test_xavier_has_its_deviation() -> None:
    graph = BipartiteGraph(3000, 50, torch.tensor([[0, 1], [2, 3]]))
    encoder = LightGCN(3000, 50, dim=32)
    STARTS["xavier"](encoder, graph, torch.Generator().manual_seed(1))
    for rows in encoder.layer_zero:
        expected = math.sqrt(2 / (len(rows) + 32))
        assert float(rows.detach().std()) == pytest.approx(expected, rel=4 / math.sqrt(2 * rows.numel()))


@pytest.mark.parametrize("name", STARTS)
def test_a_start_without_vectors_of_users_is_that_of_items(toy_graph: BipartiteGraph, name: str) -> None:
    egcf, lightgcn = (
        Trainer(TrainConfig(init=name, encoder=encoder, **SMALL), toy_graph).model.encoder.layer_zero
        for encoder in ("egcf", "lightgcn")
    )
    assert not egcf[0].any()
    spread = float(lightgcn[1].detach().std())  # 0.1 where it is normal, 0.38 for xavier
    assert float(egcf[1].detach().std()) == pytest.approx(spread, rel=0.5)
    if name == "spectral":
        known = toy_graph.degrees()[1] > 0
        torch.testing.assert_close(egcf[1][known], lightgcn[1][known])


def test_spectral_start_is_the_scaled_svd(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=4, num_layers=1, generator=torch.Generator().manual_seed(1))
    before = encoder.users.detach().clone()
    STARTS["spectral"](encoder, toy_graph, torch.Generator().manual_seed(1))
    dense = np.zeros((12, 10))
    for u, i in toy_graph.edge_index.T.tolist():
        dense[u, i] = 1.0
    degrees = dense.sum(1), dense.sum(0)
    inverse = [1 / np.sqrt(np.maximum(degree, 1)) for degree in degrees]
    left, _, right = np.linalg.svd(inverse[0][:, None] * dense * inverse[1])
    for rows, vectors, degree in zip(encoder.layer_zero, (left[:, :4], right.T[:, :4]), degrees, strict=True):
        wanted = vectors @ vectors.T  # whatever the signs
        length = np.linalg.norm(vectors, axis=1)
        for a in range(len(degree)):
            for b in range(len(degree)):
                if degree[a] and degree[b]:
                    expected = wanted[a, b] / length[a] / length[b] * (degree[a] * degree[b]) ** 0.25
                    found = float(rows[a].detach() @ rows[b].detach())
                    assert found == pytest.approx(expected, abs=1e-4)
    alone = int(np.flatnonzero(degrees[0] == 0)[0])
    assert torch.equal(encoder.users.detach()[alone], before[alone])


def test_dimensions_without_a_direction_keep_their_start(toy_graph: BipartiteGraph) -> None:
    encoder = LightGCN(12, 10, dim=13, generator=torch.Generator().manual_seed(1))
    before = [rows.detach().clone() for rows in encoder.layer_zero]
    with pytest.warns(InputWarning, match="spectral start: there are 10 directions"):
        STARTS["spectral"](encoder, toy_graph, torch.Generator())
    for rows, old, degree in zip(encoder.layer_zero, before, toy_graph.degrees(), strict=True):
        assert torch.equal(rows.detach()[:, 10:], old[:, 10:])
        lengths = torch.linalg.vector_norm(rows.detach()[degree > 0, :10], dim=1)
        torch.testing.assert_close(lengths, degree[degree > 0].float().pow(0.25))


def test_schedules_fall_from_one_to_nothing() -> None:
    for name in SCHEDULES:
        values = [factor(name, step, 100) for step in range(101)]
        assert values[0] == 1.0
        assert all(a >= b for a, b in itertools.pairwise(values))
        assert values[-1] == pytest.approx(1.0 if name == "constant" else 0.0)
        assert factor(name, 5000, 100) == values[-1]
    assert factor("cosine", 25, 100) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert factor("linear", 25, 100) == 0.75
    assert [factor("linear", step, 14, warmup=4) for step in range(6)] == [0.2, 0.4, 0.6, 0.8, 1.0, 0.9]


def test_the_schedule_sets_the_rate_of_every_step(toy_graph: BipartiteGraph) -> None:
    config = TrainConfig(schedule="cosine", warmup=1, epochs=3, learning_rate=0.02, **SMALL)
    trainer = Trainer(config, toy_graph)
    rates = []
    trainer.optimizer.register_step_pre_hook(lambda o, *_: rates.append(o.param_groups[0]["lr"]))
    for epoch in (1, 2, 3):
        trainer.run_epoch(epoch)
    count = len(trainer.batches)
    assert rates == [0.02 * factor("cosine", step, 3 * count, count) for step in range(3 * count)]


def test_scorings_are_their_formulas() -> None:
    generator = torch.Generator().manual_seed(2)
    users, items = (torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 5))
    items[2] = 0.0
    exponent = 0.3
    for name, kind in SCORINGS.items():
        found = kind.function(Embeddings(users, items), exponent)
        for u in range(4):
            for i in range(5):
                dot, lengths = float(users[u] @ items[i]), (float(users[u].norm()), float(items[i].norm()))
                cosine = dot / (lengths[0] * lengths[1]) if lengths[1] else 0.0
                expected = {"dot": dot, "cosine": cosine, "calibrated": cosine * lengths[1] ** exponent}[name]
                assert float(found.users[u] @ found.items[i]) == pytest.approx(expected, abs=1e-12)


def test_calibrated_ends_are_cosine_and_inner_product() -> None:
    generator = torch.Generator().manual_seed(2)
    raw = Embeddings(*(torch.randn(n, 3, generator=generator, dtype=torch.float64) for n in (4, 50)))
    for exponent, name in ((0.0, "cosine"), (1.0, "dot")):
        scores, others = (a @ b.T for a, b in (calibrated(raw, exponent), SCORINGS[name].function(raw, 0.0)))
        assert torch.equal(scores.argsort(1), others.argsort(1))


def test_calibration_finds_the_best_exponent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Positives are the best of cosine times length to the power 0.5, so that is what it must find."""
    generator = torch.Generator().manual_seed(3)
    users = torch.randn(300, 8, generator=generator)
    items = torch.randn(400, 8, generator=generator) * (1.5 * torch.randn(400, 1, generator=generator)).exp()
    raw = Embeddings(users, items)
    ranked = calibrated(raw, 0.5)
    best = (ranked.users @ ranked.items.T).topk(10, 1).indices
    user = np.repeat(np.arange(300), 10)
    train = pairs_of(300, 400, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))
    valid = pairs_of(300, 400, user, best.numpy().reshape(-1))
    split = Split(train, valid, valid.select(np.zeros(0, dtype=np.int64)), "given")
    scoring = Scoring("calibrated")
    assert scoring.calibrate(raw, split, "all/recall@10") == pytest.approx(0.5, abs=0.07)
    figures = evaluate(*scoring(raw), train, valid, ks=(10,), metrics=("recall",)).values
    assert figures["all/recall@10"] > 0.95
    some = Scoring("calibrated")
    assert some.calibrate(raw, split, "all/recall@10", most_users=50) == pytest.approx(0.5, abs=0.2)
    monkeypatch.setattr(scoring_module, "MOST_USERS", 50)
    for start in (0.0, 0.25, 1.0):
        some.exponent.fill_(start)
        assert some.settle(raw, split, "all/recall@10") == 0.5 == float(some.exponent)


def test_calibration_among_cold_items_ranks_them_alone() -> None:
    """Cold items want the power 0.5; warm ones, much longer, would rank first with it."""
    generator = torch.Generator().manual_seed(3)
    users, items = (torch.randn(n, 8, generator=generator) for n in (300, 400))
    items *= (1.5 * torch.randn(400, 1, generator=generator)).exp()
    items[::2] *= 1e4
    cold = np.arange(1, 400, 2)
    wanted = calibrated(Embeddings(users, items), 0.5)
    best = cold[(wanted.users @ wanted.items[cold].T).topk(10, 1).indices.numpy()]
    train = pairs_of(300, 400, np.zeros(200, dtype=np.int64), np.arange(0, 400, 2))
    valid = pairs_of(300, 400, np.repeat(np.arange(300), 10), best.reshape(-1))
    split = Split(train, valid, valid.select(np.zeros(0, dtype=np.int64)), "given")
    scoring = Scoring("calibrated")
    assert scoring.calibrate(Embeddings(users, items), split, "cold_among_cold/recall@10") == pytest.approx(
        0.5, abs=0.07
    )
    figures = evaluate(*scoring(Embeddings(users, items)), train, valid, ks=(10,), metrics=("recall",)).values
    assert figures["cold_among_cold/recall@10"] > 0.95
    assert figures["cold_items/recall@10"] < 0.05  # among all items, the warm ones fill the lists


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("few", [False, True])
def test_the_chosen_exponent_is_the_one_the_test_is_read_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refit: bool, few: bool
) -> None:
    """Where each validation looks at few users, all of them decide at the end, and the run says so."""
    config = TrainConfig(score="calibrated", epochs=3, refit=refit, aug="none", **SMALL)
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), checkerboard())
    settled: list[float] = []
    calibrate, settle = Scoring.calibrate, Scoring.settle
    if few:
        monkeypatch.setattr(scoring_module, "MOST_USERS", 4)
        monkeypatch.setattr(Scoring, "calibrate", lambda *given: calibrate(*given, most_users=4))
    monkeypatch.setattr(Scoring, "settle", lambda *given: settled.append(settle(*given)) or settled[-1])
    fit_run(folder)
    lines = [line for line in folder.metrics() if line["phase"] == "select"]
    best, values = load_state(folder.best_checkpoint)
    chosen = max(lines, key=lambda line: (line[f"valid/all/{config.select}"], -line["epoch"]))
    assert few or chosen["norm_exponent"] == settled[0]  # all users were looked at before
    assert [float(best["scoring.exponent"])] == settled
    assert json.loads((folder.path / "result.json").read_text())["norm_exponent"] == settled[0]
    assert values["phase"] == ("refit" if refit else "select")
