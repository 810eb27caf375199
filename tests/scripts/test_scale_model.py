"""The cost model's counts beside slow ones of a real trainer, and its commands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scale_model
import torch.distributed as dist
from scale_formulas import (
    Layout,
    Machine,
    Network,
    distinct,
    exchanged,
    graph_bytes,
    memory,
    one_sided,
    piled,
    rows,
    sparse_rows,
    work,
)
from scale_measure import Case, Taken, counted, of_catalogue, random_pairs, step_seconds
from torch import Tensor

from gclrec.graph.propagation import CSRMatrix
from gclrec.training.distributed import Processes
from gclrec.training.trainer import Trainer, new_trainer
from gclrec.views.passes import Passes

SMALL = Case("gcl_sparse", 3072, 150, 100, dim=8, batch=256)
LARGE = Case("gcl_sparse", 10**9, 2 * 10**7, 5 * 10**6, batch=2_500_000)
CASES = [
    SMALL,
    replace(SMALL, part=100),
    replace(SMALL, layers=1),
    replace(SMALL, method="lightgcn"),
    replace(SMALL, method="lightgcn", part=100, layers=2),
]
CACHES = (2.0**21, 2.0**25)


def stepped(case: Case, processes: Processes | None = None) -> Trainer:
    """Return a trainer that has taken three steps."""
    trainer = new_trainer(case.config, random_pairs(case), processes=processes)
    step_seconds(trainer, 2)
    return trainer


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Return one of two processes, to which the other one seems to send what it has itself."""

    def gather(parts: list[Tensor], own: Tensor, **_: Any) -> None:
        for part in parts:
            part.copy_(own)

    monkeypatch.setattr(dist, "all_gather", gather)
    monkeypatch.setattr(dist, "all_reduce", lambda own, **_: None)
    monkeypatch.setattr(dist, "get_world_size", lambda _: 2)
    return Processes(0, 2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_bytes_exchanged_are_those_of_the_collectives(case: Case, alone: Processes) -> None:
    """Items of a batch are distinct by chance, so their number is a mean; all else is exact."""
    with counted() as found:
        stepped(replace(case, processes=2), alone)
    received, messages = exchanged(case, Layout(2))
    assert found["bytes"] / 3 == pytest.approx(received, rel=0.01)
    assert case.method == "gcl_sparse" or case.parts > 1 or found["bytes"] == 3 * received
    assert found["calls"] == 3 * messages


@pytest.mark.parametrize("case", CASES, ids=str)
def test_products_of_a_step(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: list[tuple[int, int]] = []
    matmul = CSRMatrix.matmul

    def counting(self: CSRMatrix, x: Tensor) -> Tensor:
        shapes.append((len(self.ptr) - 1, len(x)))
        return matmul(self, x)

    trainer = stepped(case)
    monkeypatch.setattr(CSRMatrix, "matmul", counting)
    trainer.step(next(iter(trainer.batches)), next(trainer.views()))
    sides = (case.users, case.items), (case.items, case.users)
    alone = int(case.method == "gcl_sparse" and case.num_layers % 2 == 0)  # one for the batch's users
    assert [shapes.count(side) for side in sides] == [one_sided(case) - alone] * 2
    assert len(shapes) == 2 * one_sided(case)


@pytest.mark.parametrize("case", [each for each in CASES if each.parts > 1], ids=str)
def test_gradients_of_parts_do_not_pile_up(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part leaves a row for each node it looked at; they are added before the next one begins."""
    case = replace(case, users=3000, items=2000)
    found: list[int] = []
    collect = Passes.collect

    def counting(self: Passes) -> None:
        for _, _, leaves in self._made.values():
            found.append(sum(leaf.grad._nnz() for leaf in leaves if leaf.grad is not None))
        collect(self)
        assert all(leaf.grad is None for _, _, leaves in self._made.values() for leaf in leaves)

    monkeypatch.setattr(Passes, "collect", counting)
    stepped(case)
    assert sum(found) / 3 == pytest.approx(sparse_rows(case), rel=0.05)  # some rows meet and are added
    assert piled(case) == memory(case, Layout(), 4.0)["piled"] == 0.0
    copied = sum(sparse_rows(case) / case.parts * part for part in range(1, case.parts + 1))
    assert piled(replace(case, piles=True)) == pytest.approx(copied)


def tensors(holder: object) -> Iterator[Tensor]:
    """Yield all tensors in the attributes of an object, of its tuples and of what they hold."""
    if isinstance(holder, Tensor):
        yield holder
    elif isinstance(holder, dict):
        for value in holder.values():
            yield from tensors(value)
    elif hasattr(holder, "__dict__") and type(holder).__module__.startswith("gclrec.graph"):
        yield from tensors(vars(holder))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_memory_is_that_of_the_tensors(case: Case) -> None:
    trainer = stepped(case)
    graph = {tensor.data_ptr(): tensor.nbytes for tensor in tensors(trainer.model.graph)}
    assert sum(graph.values()) == graph_bytes(case.pairs, case.users, case.items)
    found = memory(case, Layout(), 0.0)
    assert sum(p.nbytes for p in trainer.model.parameters()) == found["vectors"]
    state = trainer.optimizer.state.values()
    assert sum(x.nbytes for each in state for x in each.values() if x.dim()) == found["adam"]


def test_large_graphs_have_wider_numbers() -> None:
    below, above = (graph_bytes(pairs, 1, 1) / pairs for pairs in (2.0**30 - 1, 2.0**30))
    assert (round(below), round(above)) == (40, 56)
    case = replace(LARGE, pairs=2 * 10**9)
    whole, half = (memory(case, Layout(1, blocks, True), 6.0)["graph"] for blocks in (1, 2))
    assert half < 0.4 * whole


def test_distinct_items() -> None:
    draws = np.random.default_rng(0).integers(50, size=(4000, 80))
    found = np.mean([len(np.unique(row)) for row in draws])
    assert distinct(50, 80) == pytest.approx(found, rel=0.005)


def shipped() -> Machine:
    return scale_model.constants(scale_model.CONSTANTS)


@pytest.mark.parametrize("method", ["gcl_sparse", "lightgcn"])
def test_more_processes_take_less_each(method: str) -> None:
    by, case = shipped(), replace(LARGE, method=method)
    layouts = {
        "built": [Layout(count) for count in (1, 2, 4, 8, 16, 32, 64)],
        "loss": [Layout(count, shares_loss=True) for count in (1, 2, 4, 8, 16, 32, 64)],
        "blocks": [Layout(4, count, shares_loss=True) for count in (1, 2, 4, 8, 16)],
    }
    for name, each in layouts.items():
        seconds = [sum(by.compute(case, layout).values()) for layout in each]
        peaks = [by.peak(case, layout) for layout in each]
        assert all(b < a for a, b in pairwise(seconds)), name
        assert all(b < a for a, b in pairwise(peaks)), name
    received = [exchanged(case, layout)[0] for layout in layouts["built"]]
    assert received[0] == 0
    assert all(b > a for a, b in pairwise(received))
    assert received[-1] < rows(case) * case.dim * 4 + 4 * 64
    shared = [exchanged(case, layout)[0] for layout in layouts["loss"]]
    assert shared[-1] < received[-1] / 16


def test_what_is_not_divided_stays() -> None:
    one, four = (work(LARGE, Layout(count), CACHES) for count in (1, 4))
    assert one["edge"] == four["edge"]
    assert one["edge_value"] == 4 * four["edge_value"]
    assert one["logit_value"] == four["logit_value"]
    shared = work(LARGE, Layout(4, shares_loss=True), CACHES)
    assert one["logit_value"] == pytest.approx(4 * shared["logit_value"], rel=0.01)
    assert work(LARGE, Layout(1, 4, True), CACHES)["edge"] == one["edge"] / 4


def test_a_slow_network_waits_longer() -> None:
    by = shipped()
    slow, fast = (by.seconds(LARGE, Layout(4), Network(rate, 0.0)) for rate in (1e8, 1e9))
    received = exchanged(LARGE, Layout(4))[0]
    assert slow - fast == pytest.approx(received / 1e8 - received / 1e9)


def made_up(case: Case, by: Machine) -> Taken:
    """Return what a case takes on a machine of given constants."""
    seconds = sum(by.compute(case, Layout(case.processes)).values())
    idle = int(by.idle) + 8 * case.pairs
    return Taken(seconds, seconds, int(by.peak(case, Layout(case.processes))), idle)


def test_the_fit_finds_known_constants() -> None:
    by = replace(shipped(), rates=dict.fromkeys(shipped().rates, 1e-9) | {"edge": 2e-8, "step": 0.01})
    found = Machine.fitted({case: made_up(case, by) for case in scale_model.cases()}, by.caches)
    for case in [LARGE, replace(LARGE, method="lightgcn")]:
        for layout in (Layout(), Layout(8)):
            assert found.seconds(case, layout, Network()) == pytest.approx(
                by.seconds(case, layout, Network()), rel=0.05
            )
            assert found.peak(case, layout) == pytest.approx(by.peak(case, layout), rel=0.01)


def test_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is in the file is not measured again, and the prediction of what was measured is that."""
    by, path, measured = shipped(), tmp_path / "constants.json", []

    def measure(case: Case, steps: int) -> Taken:
        measured.append(case)
        return made_up(case, by)

    def run(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        scale_model.app([str(each) for each in arguments], result_action="return_value")
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    monkeypatch.setattr(scale_model, "measure", measure)
    monkeypatch.setattr(scale_model, "checks", lambda: [replace(scale_model.cases()[0], processes=2)])
    assert run("fit", "--path", path)["rates"].keys() == by.rates.keys()
    assert run("fit", "--path", path)
    assert measured == scale_model.cases()
    ratios = run("check", "--path", path)["ratios"]
    assert len(ratios) == len(measured) == len(scale_model.cases()) + 1
    assert [each["seconds"] for each in ratios] == pytest.approx([1.0] * len(ratios), rel=0.1)

    found = run("blocks", "--dataset", "synthetic-60x40x900", "--counts", 1, 4, "--draws", 3)["found"]
    assert found[0] == {"blocks": 1, "numbered": 1.0, "permuted": 1.0}
    assert 1.0 < found[1]["permuted"] < 2.0

    data = ("--pairs", "1e9", "--users", "2e7", "--items", "5e6")
    found = run("predict", *data, "--processes", 1, 8, "--gib", 64, "--path", path)["predicted"]
    assert [(each["processes"], each["built"]) for each in found] == [(1, True), (8, True), *[(8, False)] * 2]
    assert found[3]["blocks"] > found[2]["blocks"] == 1
    assert found[3]["peak"] <= 64 * 2**30
    assert [each["seconds"] for each in found] == sorted((each["seconds"] for each in found), reverse=True)


def test_pairs_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = random_pairs(SMALL)
    assert len({*zip(pairs.user.tolist(), pairs.item.tolist(), strict=True)}) == len(pairs) == SMALL.pairs
    case = of_catalogue("synthetic-60x40x900", "lightgcn", dim=4)
    degree = np.bincount(random_pairs(replace(SMALL, data=None)).user)
    assert case.degree is not None
    assert case.degree >= case.pairs / case.users
    assert (degree**2).sum() / degree.sum() == pytest.approx(SMALL.pairs / SMALL.users + 1, rel=0.1)
    processor, clock = step_seconds(new_trainer(case.config, random_pairs(case)), 2)
    assert processor > 0
    assert clock > 0


def test_the_largest_block() -> None:
    assert scale_model.largest_block(np.array([4, 2, 1, 1]), 2) == 1.5
    assert scale_model.largest_block(np.array([4, 1, 1, 2]), 2) == 1.25
    assert scale_model.largest_block(np.array([4, 2, 1, 1]), 4) == 2.0
