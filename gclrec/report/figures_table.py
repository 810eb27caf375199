"""Figures by group as a table for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table

from gclrec.evaluation.metrics import CATALOGUE_METRICS


def figures_table(
    values: Mapping[str, float],
    cases: Mapping[str, int],
    *,
    pairs: Mapping[str, int] | None = None,
    title: str = "test",
) -> Table:
    """Return figures as a table with a row a group: recall, ndcg and hit at cut-off 20, or the middle one.

    Args:
        values: figures by ``GROUP/METRIC@K``.
        cases: users of each group.
        pairs: held-out pairs of each group.
        title: head of the first column.
    """
    names = dict.fromkeys(tuple(name.partition("/")[2].split("@")) for name in values)
    metrics = dict.fromkeys(metric for metric, _ in names if metric not in CATALOGUE_METRICS)
    k = _cut(values)
    shown = [name for name in ("recall", "ndcg", "hit") if name in metrics] or list(metrics)[:3]
    counts = {"users": cases} if pairs is None else {"users": cases, "pairs": pairs}
    table = Table(title, *counts, *(f"{name}@{k}" for name in shown))
    for column in table.columns[1:]:
        column.justify = "right"
    for group in cases:
        found = [values.get(f"{group}/{name}@{k}") for name in shown]
        cells = ["-" if value is None else f"{value:.4f}" for value in found]
        table.add_row(group.replace("_", " "), *(f"{count[group]:,}" for count in counts.values()), *cells)
    return table


def share_of_cold_items(
    values: Mapping[str, float], pairs: Mapping[str, int], alone: Mapping[str, float] | None = None
) -> str:
    """Return what cold items get and what it costs warm ones; empty where no held-out pair has a cold item.

    Args:
        values: figures by ``GROUP/METRIC@K``.
        pairs: held-out pairs of each group.
        alone: figures of warm items in lists without cold ones, where they are known.
    """
    k = _cut(values)
    places, held_out = values.get(f"all/cold_share@{k}"), pairs.get("cold_items", 0)
    if places is None or not held_out:
        return ""
    costs = "".join(
        f"; warm items have {name.partition('/')[2]} {values[name]:.4f}, and {value:.4f} without cold items"
        for name, value in (alone or {}).items()
        if name in values
    )
    return (
        f"cold items hold {places:.0%} of the first {k} places and {held_out / pairs['all']:.0%} of the "
        f"held-out pairs{costs}"
    )


def _cut(values: Mapping[str, float]) -> int:
    """Return the cut-off to show: 20, or the middle one."""
    ks = sorted({int(name.rpartition("@")[2]) for name in values})
    return 20 if 20 in ks or not ks else ks[len(ks) // 2]
