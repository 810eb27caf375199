"""A cost model of one training on P processes: ``python scripts/scale_model.py predict --pairs 1e9 ...``.

Seconds are a sum of counts of work, read off the code, each times a constant of the machine. ``fit`` measures
steps of real trainers on random graphs and fits the constants; ``check`` compares predictions with what was
measured at sizes that were not fitted to. docs/concepts/scale.md has the formulas and the tables. The last
line of each is one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_common import machine, show
from cyclopts import App, Parameter
from scale_formulas import Layout, Machine, Network, exchanged, memory, work
from scale_measure import Case, Taken, cases, checks, measure, train_pairs

from gclrec.common.files import read_json, write_atomically
from gclrec.data.interactions import IntArray
from gclrec.settings.budget import BATCH_SIZE, PASSES

app = App(
    name="scale_model", help=__doc__, version_flags=[], default_parameter=Parameter(consume_multiple=True)
)

CONSTANTS = Path(__file__).with_suffix(".json")
"""What was measured, and the constants that were fitted to it."""

# -- what was measured ---------------------------------------------------------------------------


def stored(path: Path) -> tuple[dict[Case, Taken], dict[Case, Taken]]:
    """Return what a file holds: measurements to fit to, and those to check with."""
    kept = read_json(path)
    fit_to, check_with = (
        {Case(**each["case"]): Taken(**each["taken"]) for each in kept[part]} for part in ("fit", "check")
    )
    return fit_to, check_with


def constants(path: Path) -> Machine:
    """Return the constants that a file holds."""
    kept = read_json(path)
    return Machine(tuple(kept["caches"]), kept["rates"], kept["tables"], kept["fixed"], kept["idle"])


def store(path: Path, fit_to: Mapping[Case, Taken], check_with: Mapping[Case, Taken]) -> Machine:
    """Write measurements and the constants fitted to them; return the constants."""
    caches = cache_bytes()
    found = Machine.fitted(fit_to, caches)
    values = {"machine": machine(), **asdict(found)}
    lines = [f'"{name}": {json.dumps(value)}' for name, value in values.items()]
    for name, part in (("fit", fit_to), ("check", check_with)):
        each = [json.dumps({"case": given(case), "taken": asdict(taken)}) for case, taken in part.items()]
        lines.append(f'"{name}": [\n' + ",\n".join(each) + "]")
    write_atomically(path, "{" + ",\n".join(lines) + "}\n")
    return found


def given(case: Case) -> dict[str, Any]:
    """Return what a case says, without what is ``None`` or ``False``."""
    return {name: value for name, value in asdict(case).items() if value not in (None, False)}


def cache_bytes() -> tuple[float, float]:
    """Return the bytes of the second and third cache; usual ones where the system does not tell."""
    found = []
    for level, usual in ((2, 2.0**21), (3, 2.0**25)):
        place = Path(f"/sys/devices/system/cpu/cpu0/cache/index{level}/size")
        found.append(float(place.read_text().strip().rstrip("K")) * 1024 if place.exists() else usual)
    return found[0], found[1]


# -- commands ------------------------------------------------------------------------------------


@app.command
def fit(*, again: bool = False, steps: int = 4, path: Path = CONSTANTS) -> None:
    """Measure steps of real trainers on random graphs, fit the constants and write both.

    What the file has already is not measured again, so that an interrupted call can be resumed.

    Args:
        again: measure all once more; of two measurements of a case the faster one is kept.
        steps: timed steps of each case, of which the fastest counts.
        path: the file.
    """
    fit_to, check_with = stored(path) if path.exists() else ({}, {})
    for case in cases():
        if again or case not in fit_to:
            fit_to[case] = _faster(fit_to.get(case), measure(case, steps))
            store(path, fit_to, check_with)
            print(case, fit_to[case], flush=True)
    found = store(path, fit_to, check_with)
    amounts = [work(case, Layout(case.processes), found.caches) for case in fit_to]
    lines = [
        (
            name,
            f"{rate:.3g}",
            f"{max(rate * a[name] / t.seconds for a, t in zip(amounts, fit_to.values(), strict=True)):.0%}",
        )
        for name, rate in found.rates.items()
    ]
    columns = ("for one", "s", "most of a step")
    show("constants", columns, lines, {"rates": dict(found.rates), "tables": dict(found.tables)})


@app.command
def check(*, again: bool = False, steps: int = 4, path: Path = CONSTANTS) -> None:
    """Compare predictions with what was measured at other sizes and with two processes.

    Each size that the constants are fitted to is left out in turn, with both methods, and predicted from the
    others.

    Args:
        again: measure all but the sizes of the fit once more.
        steps: timed steps of each case.
        path: the file that ``fit`` has written.
    """
    fit_to, check_with = stored(path)
    for case in checks():
        if again or case not in check_with:
            check_with[case] = _faster(check_with.get(case), measure(case, steps))
            found = store(path, fit_to, check_with)
            print(case, check_with[case], flush=True)
    found = store(path, fit_to, check_with)
    predicted = [(case, taken, left_out(fit_to, case)) for case, taken in fit_to.items()]
    predicted += [(case, taken, found) for case, taken in check_with.items()]
    lines: list[tuple[str, ...]] = []
    ratios: list[dict[str, float]] = []
    for case, taken, by in predicted:
        layout = Layout(case.processes)
        seconds = sum(by.compute(case, layout).values())
        grown, peak = taken.peak - taken.idle, by.peak(case, layout) - by.idle - 8 * case.pairs
        received = exchanged(case, layout)[0]
        ratios.append({"seconds": seconds / taken.seconds, "peak": peak / grown})
        if taken.received:
            ratios[-1]["received"] = received / taken.received
        lines.append(
            (
                case.method,
                case.data or f"{case.pairs / 1e6:g} M, {case.users:,}, {case.items:,}",
                f"{case.dim}, {case.batch}" + (f"/{case.part}" if case.parts > 1 else ""),
                f"{case.processes}",
                *(f"{1e3 * each:.0f}" for each in (taken.seconds, seconds)),
                f"{ratios[-1]['seconds']:.2f}",
                *(f"{each / 2**20:.0f}" for each in (grown, peak)),
                f"{ratios[-1]['peak']:.2f}",
                *(f"{each / 1e6:.2f}" if taken.received else "" for each in (taken.received, received)),
            )
        )
    columns = (
        *("method", "pairs, users, items", "D, B/M", "P", "ms", "predicted", "ratio"),
        *("MiB", "predicted", "ratio", "MB received", "predicted"),
    )
    show("measured and predicted", columns, lines, {"ratios": ratios})


def left_out(measured: Mapping[Case, Taken], case: Case) -> Machine:
    """Return the constants fitted to all other sizes than that of a case."""
    others = {other: taken for other, taken in measured.items() if replace(other, method=case.method) != case}
    return Machine.fitted(others, cache_bytes())


def _faster(before: Taken | None, now: Taken) -> Taken:
    return now if before is None or now.seconds < before.seconds else before


@app.command
def predict(
    *,
    pairs: float,
    users: float,
    items: float,
    method: str = "gcl_sparse",
    dim: int = 64,
    steps: int = 1600,
    batch: int | None = None,
    part: int = 4096,
    layers: int | None = None,
    degree: float | None = None,
    processes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64),
    gib: float = 64.0,
    bandwidth: float = Network().bandwidth,
    latency: float = Network().latency,
    path: Path = CONSTANTS,
) -> None:
    """Print seconds, memory and bytes exchanged by the number of processes, as built and on paper.

    Args:
        pairs: training pairs; 1e9 will do, as for users and items.
        users: how many.
        items: how many.
        method: gcl_sparse or lightgcn.
        dim: embedding length.
        steps: of the run; the batch follows from it as in training.
        batch: pairs of a batch, if it does not follow from the steps.
        part: the setting micro_batch.
        layers: those of the method if not given.
        degree: sum d^2 / sum d over the users; that of random pairs if not given.
        processes: numbers to predict for.
        gib: memory that a process may use; layouts on paper are chosen to fit where one does.
        bandwidth: bytes a second that a process receives.
        latency: seconds until a message arrives.
        path: the file that ``fit`` has written.
    """
    by = constants(path)
    size = batch or max(BATCH_SIZE, -(-PASSES * int(pairs) // steps))
    case = Case(method, int(pairs), int(users), int(items), dim, size, part, layers=layers, degree=degree)
    network = Network(bandwidth, latency)
    found = []
    for count in processes:
        by_columns = [Layout(count), Layout(count, shares_loss=True)] if case.dim % count == 0 else []
        layouts = [*by_columns, best(by, case, count, network, gib * 2**30)] if count > 1 else [Layout()]
        found += [row(by, case, layout, network, steps) for layout in dict.fromkeys(layouts)]
    lines = [
        (
            f"{each['processes']}",
            f"{each['columns']} x {each['blocks']}" + (", shared loss" if each["shares_loss"] else ", built"),
            f"{each['seconds']:.3g}",
            f"{each['waiting']:.2g}",
            f"{each['hours']:.3g}",
            *(f"{each['memory'][name] / 2**30:.2g}" for name in PARTS),
            f"{each['peak'] / 2**30:.3g}" + ("" if each["peak"] <= gib * 2**30 else " (too much)"),
            f"{each['received'] / 1e6:.3g}",
        )
        for each in found
    ]
    columns = ("P", "layout", "s a step", "of it waiting", "h a run", *PARTS, "GiB in all", "MB received")
    show(f"{case}, {steps} steps", columns, lines, {"case": asdict(case), "predicted": found})


@app.command
def blocks(
    *, dataset: str = "gowalla", counts: tuple[int, ...] = (2, 4, 8, 16, 32, 64), draws: int = 20
) -> None:
    """Print the edges of the largest of several blocks of equally many users, over the mean.

    Args:
        dataset: catalogue name; its training part is cut.
        counts: numbers of blocks.
        draws: random permutations of the users, of which the mean is taken.
    """
    degree = train_pairs(dataset).user_degrees()
    shuffle = np.random.default_rng(0)
    found = [
        {
            "blocks": count,
            "numbered": largest_block(degree, count),
            "permuted": float(
                np.mean([largest_block(shuffle.permutation(degree), count) for _ in range(draws)])
            ),
        }
        for count in counts
    ]
    lines = [(f"{each['blocks']}", f"{each['numbered']:.2f}", f"{each['permuted']:.2f}") for each in found]
    show(f"{dataset}: largest block over the mean", ("R", "as numbered", "permuted"), lines, {"found": found})


def largest_block(degree: IntArray, count: int) -> float:
    """Return the edges of the largest of so many blocks of successive users, over the mean."""
    block = np.arange(len(degree)) * count // len(degree)
    return float(np.bincount(block, weights=degree).max() * count / degree.sum())


PARTS = ("graph", "vectors", "adam", "step")
"""Parts of the memory that the table has."""


def row(by: Machine, case: Case, layout: Layout, network: Network, steps: int) -> dict[str, Any]:
    """Return the predictions for one layout."""
    seconds = by.seconds(case, layout, network)
    return {
        "processes": layout.processes,
        **layout._asdict(),
        "built": layout == Layout(layout.processes),
        "seconds": seconds,
        "waiting": seconds - sum(by.compute(case, layout).values()),
        "hours": seconds * steps / 3600,
        "memory": memory(case, layout, by.tables[case.method]),
        "peak": by.peak(case, layout),
        "received": exchanged(case, layout)[0],
    }


def best(by: Machine, case: Case, count: int, network: Network, most: float) -> Layout:
    """Return the fastest layout on paper of those that fit into so many bytes; the smallest if none does."""
    layouts = [
        Layout(columns, count // columns, shares_loss=True)
        for columns in range(1, min(count, case.dim) + 1)
        if count % columns == 0 and case.dim % columns == 0
    ]
    fitting = [layout for layout in layouts if by.peak(case, layout) <= most]
    if not fitting:
        return min(layouts, key=lambda layout: by.peak(case, layout))
    return min(fitting, key=lambda layout: by.seconds(case, layout, network))


if __name__ == "__main__":
    app()
