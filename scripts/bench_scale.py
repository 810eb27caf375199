"""From a Parquet file to recommendations at several sizes, beside implicit's ALS and BPR and baselines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import machine, show

from gclrec.common.files import read_json, write_atomically
from gclrec.data.catalog.loader import load
from gclrec.data.splits import make_split
from gclrec.evaluation.evaluator import evaluate
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.settings.config import TrainConfig

HERE = Path(__file__).resolve().parent
BASELINES = ("popularity", "item_knn", "gf_cf")
FACTORS = 64
ITERATIONS = {"als": 15, "bpr": 100}
VALID_USERS = 10_000
GRIDS: Mapping[str, Sequence[Mapping[str, float]]] = {
    "als": [{"alpha": a, "regularization": r} for a in (5.0, 20.0, 80.0) for r in (0.01, 1.0, 10.0)],
    "bpr": [{"learning_rate": a, "regularization": r} for a in (0.02, 0.1) for r in (0.001, 0.01)],
}
"""Settings of implicit's models, of which validation chooses."""


def scale(
    *,
    rows: tuple[int, ...] = (1_100_000, 5_000_000, 25_000_000, 100_000_000),
    methods: tuple[str, ...] = ("gcl_sparse", "als", "bpr", *BASELINES),
    work: Path,
    dataset: str = "gowalla",
    settings: tuple[str, ...] = (),
    tuned_to: int = 25_000_000,
    baselines_to: int = 25_000_000,
    test_users: int | None = None,
    k: int = 20,
    seed: int = 0,
    threads: int | None = None,
    chart: Path | None = None,
) -> None:
    """Time every part from a Parquet file with text ids to a table of recommendations for all users.

    Tables are expansions of a data set (`gclrec data expand`). Each part runs in a process of its own, whose
    seconds and peak resident memory are measured. All methods have the same split. What is finished is kept
    in WORK, with a log, and skipped by the next call, so that sizes and methods can be added or a call be
    interrupted.

    Args:
        rows: sizes of the tables.
        methods: names of gclrec's methods and baselines; als and bpr are those of implicit (extra bench).
        work: folder of tables, runs, results and the log.
        dataset: what the tables are expansions of.
        settings: further settings of gclrec's methods, such as steps=1600.
        tuned_to: up to this size als and bpr choose their settings on validation; above, those chosen at the
            largest size below are taken.
        baselines_to: up to this size bpr and all baselines but popularity are run.
        test_users: users that the test ranks, of every method; all if not given.
        k: items recommended to each user.
        seed: of the tables, the split and all methods.
        threads: of every process; all cores if not given.
        chart: draw seconds and memory by size into this file.
    """
    work.mkdir(parents=True, exist_ok=True)
    threads = threads or os.cpu_count() or 1
    log = _Log(work / "scale.log")
    flags = [f"--{name.replace('_', '-')}={value}" for name, _, value in (s.partition("=") for s in settings)]
    if test_users:
        flags.append(f"--test-users={test_users}")
    for size in sorted(rows):
        table = work / f"{dataset}-{size}.parquet"
        for method in methods:
            place = work / "results" / f"{size}-{method}.json"
            if place.exists() or (size > baselines_to and method in ("bpr", *BASELINES[1:])):
                continue
            if not table.exists():
                how = (
                    "data",
                    "expand",
                    dataset,
                    "--rows",
                    size,
                    "--text-ids",
                    "--seed",
                    seed,
                    "--out",
                    table,
                )
                log.run(f"{size}: table", [*_GCLREC, *how], threads)
            found: dict[str, Any] = {
                "rows": size,
                "method": method,
                "seed": seed,
                **machine(),
                "threads": threads,
            }
            run = work / f"run-{size}-{method}"
            try:
                if method in GRIDS:
                    found |= _rival(method, table, size, work, log, tuned_to, test_users, seed, threads)
                else:
                    found |= _own(method, table, run, log, flags, k, seed, threads)
            except subprocess.CalledProcessError as error:
                log.say(f"{size}: {method} failed with exit code {error.returncode}")
                continue
            place.parent.mkdir(exist_ok=True)
            write_atomically(place, json.dumps(found, indent=2))
    results = [read_json(path) for path in sorted((work / "results").glob("*.json"))]
    results.sort(
        key=lambda each: (
            each["rows"],
            list(methods).index(each["method"]) if each["method"] in methods else 99,
        )
    )
    slopes = {name: _slope([each for each in results if each["method"] == name]) for name in methods}
    write_atomically(work / "scale.json", json.dumps({"slopes": slopes, "results": results}, indent=2))
    _show(results, slopes)
    if chart is not None:
        draw(results, chart)


_GCLREC = (sys.executable, "-m", "gclrec")


class _Log:
    """Runs commands, one after the other, and writes what they took into a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def say(self, text: str) -> None:
        """Write one line with the time, to the file and the screen."""
        line = f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}"
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def run(self, what: str, command: Sequence[object], threads: int) -> dict[str, Any]:
        """Run a command in a process of its own.

        Returns:
            ``seconds``, ``peak_mb`` and ``printed``, the JSON object on the last line that it prints, if any.
        """
        words = [str(word) for word in command]
        self.say(f"{what}: {' '.join(words[2:])}")
        limits = {
            name: str(threads) for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "OPENBLAS_NUM_THREADS")
        }
        began = time.perf_counter()
        with self.path.open("a", encoding="utf-8") as errors:
            child = subprocess.Popen(
                words, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | limits
            )
            assert child.stdout is not None
            printed = child.stdout.read()
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - began
        if child.returncode:
            raise subprocess.CalledProcessError(child.returncode, words)
        peak = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        self.say(f"{what}: {seconds:,.1f} s, {peak:,.0f} MB")
        last = (printed.splitlines() or [""])[-1]
        return {
            "seconds": seconds,
            "peak_mb": peak,
            "printed": json.loads(last) if last.startswith("{") else {},
        }


def _own(
    method: str, table: Path, run: Path, log: _Log, flags: Sequence[str], k: int, seed: int, threads: int
) -> dict[str, Any]:
    """Train, export and recommend with a method or baseline of gclrec."""
    what = run.name.removeprefix("run-")
    shutil.rmtree(run, ignore_errors=True)  # of a call that was interrupted: its seconds are not known
    kind = ["--baseline", method] if method in BASELINES else ["--method", method, *flags]
    kind += [each for each in flags if method in BASELINES and each.startswith("--test-users")]
    command = ["train", "--dataset", table, *kind, "--run", run, "--seed", seed, "--json"]
    trained = log.run(f"{what}: train", [*_GCLREC, *command], threads)
    values = trained["printed"]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    steps = sum(line["train_seconds"] for line in lines)
    checks = values["seconds"] - steps
    parts = {
        "train": steps,
        "validate": checks,
        "read, split, test, report": trained["seconds"] - steps - checks,
    }
    peaks = {"train": trained["peak_mb"]}
    if (run / "embeddings").is_dir():
        for part, command in (
            ("export", ["export", run, "--json"]),
            (
                "recommend",
                ["recommend", run, "--all", "-k", k, "--out", run / "recommended.parquet", "--json"],
            ),
        ):
            done = log.run(f"{what}: {part}", [*_GCLREC, *command], threads)
            parts[part], peaks[part] = done["seconds"], done["peak_mb"]
    return {
        "seconds": sum(parts.values()),
        "peak_mb": max(peaks.values()),
        "parts": parts,
        "peaks_mb": peaks,
        "figures": values["metrics"],
    }


def _rival(
    name: str,
    table: Path,
    size: int,
    work: Path,
    log: _Log,
    tuned_to: int,
    test_users: int | None,
    seed: int,
    threads: int,
) -> dict[str, Any]:
    """Choose the settings of a model of implicit on validation, and time the chosen one."""
    grid = list(GRIDS[name])
    if size > tuned_to:
        known = [read_json(path) for path in (work / "results").glob(f"*-{name}.json")]
        known = [each for each in known if each["rows"] < size]
        if known:
            grid = [max(known, key=lambda each: each["rows"])["settings"]]
    asked = {"table": str(table), "name": name, "seed": seed, "threads": threads, "test_users": test_users}
    worker = (sys.executable, str(HERE / "bench_scale.py"))
    tried: list[dict[str, Any]] = []
    if len(grid) > 1:
        job = json.dumps({**asked, "settings": grid})
        tried = log.run(f"{size}: {name}: validation of {len(grid)} settings", [*worker, job], threads)[
            "printed"
        ]["tried"]
        grid = [max(tried, key=lambda each: each["valid"])["settings"]]
    job = json.dumps({**asked, "settings": grid, "test": True})
    done = log.run(f"{size}: {name}", [*worker, job], threads)
    parts = done["printed"]["parts"]
    return {
        "seconds": done["seconds"],
        "peak_mb": done["peak_mb"],
        "parts": parts,
        "figures": done["printed"]["figures"],
        "settings": grid[0],
        "tried": tried,
    }


def fit_implicit(
    table: str,
    name: str,
    settings: Sequence[Mapping[str, float]],
    *,
    seed: int,
    threads: int,
    test_users: int | None,
    test: bool = False,
) -> dict[str, Any]:
    """Fit models of implicit to the training part of a table, and validate each or test the only one.

    Figures are those of gclrec's evaluation on gclrec's split of the same seed.
    """
    import scipy.sparse
    from implicit.als import AlternatingLeastSquares
    from implicit.bpr import BayesianPersonalizedRanking

    began = time.perf_counter()
    split = make_split(load(table), seed=seed)
    read = time.perf_counter() - began
    matrix = BipartiteGraph.from_interactions(split.train).to_scipy().tocsr()
    kinds = {"als": AlternatingLeastSquares, "bpr": BayesianPersonalizedRanking}
    part = "test" if test else "valid"
    targets = getattr(split.sampled(part, test_users if test else VALID_USERS), part)
    usual = TrainConfig()
    how: Any = {"ks": usual.ks, "metrics": usual.metrics, "near_cold": usual.near_cold, "per_user": False}
    tried = []
    for each in settings:
        began = time.perf_counter()
        model = kinds[name](
            factors=FACTORS, iterations=ITERATIONS[name], random_state=seed, num_threads=threads, **each
        )
        # SciPy's array is refused: implicit multiplies with *.
        model.fit(scipy.sparse.csr_matrix(matrix), show_progress=False)
        fit = time.perf_counter() - began
        began = time.perf_counter()
        vectors = (np.asarray(model.user_factors), np.asarray(model.item_factors))
        found = evaluate(*vectors, split.train, targets, exclude=split.no_candidates(part), **how)
        tried.append({"settings": each, "fit": fit, part: found.values["all/recall@20"]})
    if not test:
        return {"tried": tried}
    figures = {f"test/{figure}": value for figure, value in found.values.items()}
    return {
        "parts": {"read, split": read, "fit": fit, "test": time.perf_counter() - began},
        "figures": figures,
    }


def _slope(results: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the slope of log seconds over log rows, by least squares."""
    if len(results) < 2:
        return None
    x, y = (np.log([each[name] for each in results]) for name in ("rows", "seconds"))
    return float(np.polyfit(x, y, 1)[0])


def _show(results: Sequence[Mapping[str, Any]], slopes: Mapping[str, float | None]) -> None:
    rows = [
        (
            f"{each['rows']:,}",
            each["method"],
            f"{each['seconds']:,.0f}",
            f"{each['peak_mb'] / 1024:.2f}",
            f"{each['figures']['test/all/recall@20']:.4f}",
            ", ".join(f"{part} {seconds:,.0f}" for part, seconds in each["parts"].items()),
        )
        for each in results
    ]
    known = ", ".join(f"{name} {slope:.2f}" for name, slope in slopes.items() if slope is not None)
    columns = ("interactions", "method", "s in all", "peak GiB", "recall@20", "s by part")
    show(f"slope of log seconds over log interactions: {known or 'one size only'}", columns, rows, slopes)


def draw(results: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw seconds and peak memory over the number of interactions, a line for each method."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name in dict.fromkeys(each["method"] for each in results):
        own = [each for each in results if each["method"] == name]
        for axis, key, unit in zip(axes, ("seconds", "peak_mb"), (1, 1024), strict=True):
            axis.loglog([each["rows"] for each in own], [each[key] / unit for each in own], "o-", label=name)
    for axis, title in zip(axes, ("seconds, file to recommendations", "peak memory, GiB"), strict=True):
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("interactions")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    print(json.dumps(fit_implicit(**json.loads(sys.argv[1]))))
