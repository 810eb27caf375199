"""Every benchmark runs, on the embedded data set, and ends with a line of JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark
import polars as pl
import pytest
import torch
from bench_build import measure_build, measure_read, write_interactions
from bench_common import alone, forget_peak, in_turn, peak_memory, touch
from bench_evaluate import compare
from bench_quality import Curve, recipe_config
from bench_scale import GRIDS, fit_implicit

import gclrec
from gclrec.data.synthetic import make_synthetic
from tests.recall.fake_run import write_run

Bench = Callable[..., dict[str, Any]]


@pytest.fixture
def bench(capsys: pytest.CaptureFixture[str]) -> Bench:
    """Return a function that runs ``benchmark.py ARGUMENTS`` and returns its JSON."""

    def run(*arguments: object) -> dict[str, Any]:
        capsys.readouterr()
        benchmark.app([str(argument) for argument in arguments], result_action="return_value")
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    return run


SMALL = ("--dataset", "synthetic", "--threads", 1)


def test_propagation(bench: Bench) -> None:
    found = bench("propagation", *SMALL, "--repeats", 1, "--dim", 4)
    assert set(found["both_ms"]) == {"gclrec", "COO", "CSR", "PyG MessagePassing"}


def test_serve(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("uvicorn")
    monkeypatch.setattr("bench_serve.shutil.which", lambda _: None)  # the client that needs no wrk
    run = tmp_path / "run"
    gclrec.fit("synthetic-60x40x900", folder=run, epochs=1, dim=4)
    short = ("--seconds", 0.2, "--rounds", 1, "--batch", 4, "--no-bare", "--connections", 1, 2)
    found = bench("serve", run, *short)["measured"]
    assert {(each["users"], each["connections"]) for each in found} == {(1, 1), (1, 2), (4, 1), (4, 2)}
    assert all(each["rate"] > 0 and each["p50_ms"] <= each["p99_ms"] for each in found)


def test_views(bench: Bench) -> None:
    found = bench(
        "views", "--datasets", "synthetic", "--names", "edge_drop", "--repeats", 1, "--dim", 4, "--threads", 1
    )
    assert [row["view"] for row in found["datasets"]["synthetic"]] == ["edge_drop:0.1", "edge_drop:0.5"]


def test_step(bench: Bench) -> None:
    methods = ("lightgcn", "sgl/epoch", "xsimgcl", "ncl")
    found = bench("step", *SMALL, "--methods", *methods, "--repeats", 1, "--dim", 4)
    slow = {f"{name} textbook" for name in methods[:3]}
    assert set(found["step_ms"]) == {*methods, *slow, "lightgcn PyG CSR", "lightgcn PyG edge_index"}
    assert set(found["gradient_error"]) == set(found["step_ms"]) - set(methods)
    assert max(found["gradient_error"].values()) < 1e-4
    assert found["steps_an_epoch"] == 30


def test_against_the_same_checkout(bench: Bench) -> None:
    found = bench(
        "against", Path(__file__).parents[2], *SMALL, "--methods", "mf", "--rounds", 1, "--repeats", 1
    )
    assert found["ratios"].keys() == {"mf"}
    assert found["ratios"]["mf"] > 0


def test_epoch(bench: Bench) -> None:
    found = bench("epoch", *SMALL, "--methods", "mf", "--dim", 4)["mf"]
    assert found["epoch_s"] > 0
    assert found["peak_mb"] > 50
    assert 0.5 < found["loss"] < 0.8


def test_evaluate(bench: Bench) -> None:
    found = bench("evaluate", *SMALL, "--repeats", 1, "--dim", 8)
    assert found["random"]["recall@20"] < found["trained-like"]["recall@20"]
    assert set(found["random"]["seconds"]) == {"plain loop", "top_k", "evaluate"}


def test_build(bench: Bench, tmp_path: Path) -> None:
    found = bench("build", "--rows", 2000, "--repeats", 1, "--ids", "integer", "--threads", 1, "--dim", 4)
    assert found["integer"]["build"]["num_edges"] == 2000
    assert found["integer"]["time_ratio"] > 0
    path = tmp_path / "text.parquet"
    write_interactions(path, 3000, "text", seed=0)
    assert measure_read(str(path), 48_000, 1)["seconds"] > 0
    assert measure_build(str(path), 48_000, 1, 4)["num_edges"] == 3000


def test_time_to_quality(bench: Bench, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('method = "mf"\nbatch-size = 512\ndim = 4\nks = [20]\nmetrics = ["recall"]\n')
    found = bench("time-to-quality", recipe, "gf_cf:rank=8", *SMALL, "--epochs", 2, "--goals", 0.001, 0.9)
    mine, baseline = found["recipes"].values()
    assert [epoch for epoch, _, _ in mine["curve"]] == [1, 2]
    assert mine["seconds_to_goal"]["0.001"] is not None
    assert mine["seconds_to_goal"]["0.9"] is None
    assert mine["best_value"] == max(value for _, _, value in mine["curve"])
    assert mine["test"].keys() == {"recall@20", "cold_share@20"}
    assert baseline["settings"]["rank"] == 8
    assert mine["refit_seconds"] is None
    twice = bench("time-to-quality", "mf:refit=true:dim=4", "mf:refit=true:dim=8", *SMALL, "--epochs", 1)
    assert all(recipe["refit_seconds"] > 0 for recipe in twice["recipes"].values())


def test_seconds_to_a_value() -> None:
    curve = Curve("recall@20")
    for number, value in enumerate((0.1, 0.3, 0.2), start=1):
        record = {"phase": "select", "epoch": number, "train_seconds": 2.0, "valid/all/recall@20": value}
        curve.on_epoch_end(record, None)
    curve.on_epoch_end({"phase": "refit", "epoch": 1, "train_seconds": 2.0}, None)
    assert [curve.seconds_to(value) for value in (0.05, 0.15, 0.3, 0.4)] == [2.0, 4.0, 4.0, None]
    assert (curve.seconds, curve.refit_seconds) == (6.0, 2.0)


def test_recipes_are_checked() -> None:
    config = recipe_config("lightgcn:init=spectral:batch-size=64:refit=true", seed=5, epochs=None)
    assert (config.init, config.batch_size, config.refit, config.seed) == ("spectral", 64, True, 5)
    with pytest.raises(SystemExit, match="expected a TOML file or a method"):
        recipe_config("nothing")


def test_a_wrong_ranking_is_refused() -> None:
    items, scores = torch.tensor([[3, 1, 2]]), torch.tensor([[3.0, 2.0, 2.0 - 1e-6]])
    assert compare((items, scores), (items[:, [0, 2, 1]], scores)) == 2
    with pytest.raises(SystemExit, match="differs"):
        compare((items, scores), (items[:, [1, 0, 2]], scores[:, [1, 0, 2]]))


def test_all_are_called_in_turn() -> None:
    calls: list[str] = []
    times = in_turn({name: lambda name=name: calls.append(name) for name in "ab"}, repeats=3)
    assert calls == ["a", "a", "b", "b"] * 4
    assert set(times) == {"a", "b"}


def grown() -> int:
    """Return by how much the peak has grown after memory was taken and given back."""
    before = forget_peak()
    touch(2**26)
    return peak_memory() - before


def test_peak_memory_sees_what_has_been_freed() -> None:
    assert alone(grown) >= 2**25


def test_scale_goes_from_a_table_to_recommendations_and_resumes(bench: Bench, tmp_path: Path) -> None:
    """Every part is timed in its own process; a second call reads what the first one kept."""
    how = ("--dataset", "synthetic-60x60x600", "--work", tmp_path, "--methods", "popularity", "--threads", 1)
    chart = tmp_path / "scale.svg"
    bench("scale", "--rows", 1200, *how)
    first = tmp_path / "results" / "1200-popularity.json"
    changed = json.loads(first.read_text()) | {"seconds": 1.0}
    first.write_text(json.dumps(changed))
    slopes = bench("scale", "--rows", 1200, 2400, *how, "--chart", chart)
    kept = json.loads((tmp_path / "scale.json").read_text())
    assert [each["rows"] for each in kept["results"]] == [1200, 2400]
    one, two = kept["results"]
    assert one["seconds"] == 1.0
    assert {"train", "export", "recommend"} <= two["parts"].keys()
    assert two["seconds"] == pytest.approx(sum(two["parts"].values()))
    assert two["peak_mb"] > 50
    assert slopes["popularity"] == pytest.approx(math.log2(two["seconds"]))
    assert pl.read_parquet(tmp_path / "run-2400-popularity" / "recommended.parquet")["rank"].max() == 20
    assert "<svg" in chart.read_text()


@pytest.mark.parametrize("name", GRIDS)
def test_implicit_is_measured_on_the_same_split(tmp_path: Path, name: str) -> None:
    """It finds what popularity does not, and the users of a sample are those that gclrec ranks."""
    pytest.importorskip("implicit")
    table = tmp_path / "table.parquet"
    make_synthetic(300, 200, 6000).interactions.to_frame().write_parquet(table)
    how = {"seed": 1, "threads": 1, "test_users": None}
    tried = fit_implicit(str(table), name, GRIDS[name], **how)["tried"]
    assert [each["settings"] for each in tried] == GRIDS[name]
    best = max(tried, key=lambda each: each["valid"])["settings"]
    found = fit_implicit(str(table), name, [best], test=True, **how)
    popular = gclrec.fit(str(table), baseline="popularity", seed=1)
    assert found["figures"].keys() == {f"test/{figure}" for figure in popular.figures}
    assert found["figures"]["test/all/recall@20"] > popular.figures["all/recall@20"]


def test_stores(bench: Bench, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", num_users=40, num_items=300)
    found = bench("stores", run.path, "--to", f"bundle:{tmp_path / 'bundle'}", "--users", 10, "--k", 5)
    assert found["figures"].keys() == {"gclrec, exact", "bundle"}
    for figures in found["figures"].values():
        assert figures["recall"] == figures["same_order"] == 1
        assert figures["queries_per_second"] > 0
