"""Figures by group as a table for terminals and notebooks."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table


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
    metrics, ks = dict.fromkeys(metric for metric, _ in names), sorted({int(k) for _, k in names})
    k = 20 if 20 in ks or not ks else ks[len(ks) // 2]
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
