"""Plots of a data set as PNG, SVG or PDF files; the same data gives the same bytes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gclrec.common.errors import InputError
from gclrec.common.files import local_path
from gclrec.data.interactions import Dataset, IntArray
from gclrec.data.statistics import seconds_since_1970

if TYPE_CHECKING:
    from matplotlib.axes import Axes

USERS, ITEMS, NEUTRAL = "#2f6fb0", "#d1662a", "#6b7785"
"""Colours of users, of items, and of both in the plot of a data set."""

PLOT_FORMATS = (".png", ".svg", ".pdf")
"""File suffixes that :func:`plot_dataset` can write."""


def plot_dataset(dataset: Dataset, path: str | os.PathLike[str]) -> Path:
    """Draw degree distributions and, where known, interactions over time and ratings.

    Args:
        dataset: the data set to draw.
        path: file to write; its suffix is one of ``PLOT_FORMATS``.

    Raises:
        InputError: the suffix is another.
    """
    path = local_path(path)
    if path.suffix.lower() not in PLOT_FORMATS:
        raise InputError(
            f"{path}: cannot draw {path.suffix or 'without a suffix'}; use {', '.join(PLOT_FORMATS)}"
        )
    import matplotlib as mpl  # only when something is drawn
    from matplotlib.figure import Figure

    pairs = dataset.interactions
    panels: dict[Callable[[Axes, Dataset], None], float] = {_draw_degrees: 1.25}  # with relative widths
    if pairs.time is not None and not dataset.time_is_order:
        panels[_draw_time] = 1.5
    if pairs.weight is not None and len(np.unique(pairs.weight)) > 1:
        panels[_draw_ratings] = 0.9
    widths = list(panels.values())
    figure = Figure(figsize=(0.8 + 3.6 * sum(widths), 4.0), dpi=150, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
    for panel, ax in zip(panels, axes, strict=True):
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_color("#9aa3ad")
        ax.tick_params(colors="#434b54", labelsize=8, which="both")
        ax.grid(visible=True, color="#e6e9ec", linewidth=0.8)
        ax.set_axisbelow(True)
        panel(ax, dataset)
        ax.yaxis.set_major_formatter("{x:,.0f}")
        ax.set_ylabel("interactions", fontsize=9)
    kind = ": synthetic data, made in code" if dataset.synthetic else ""
    counts = f"{pairs.num_users:,} users, {pairs.num_items:,} items, {len(pairs):,} interactions"
    figure.suptitle(f"{Path(dataset.name).name}{kind}\n{counts}", fontsize=10.5, x=0.01, ha="left")
    with mpl.rc_context({"svg.hashsalt": "gclrec"}):
        figure.savefig(
            path, metadata={".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
        )
    return path


def _draw_degrees(ax: Axes, dataset: Dataset) -> None:
    """Draw the number of interactions of the user or item at each rank, on two logarithmic axes."""
    pairs = dataset.interactions
    for degrees, colour, label in (
        (pairs.user_degrees(), USERS, "users"),
        (pairs.item_degrees(), ITEMS, "items"),
    ):
        rank, degree = _corners(np.sort(degrees[degrees > 0])[::-1])
        ax.plot(rank, degree, color=colour, linewidth=1.8, label=label, solid_capstyle="round")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.set_xlabel("rank", fontsize=9)
    ax.set_title("interactions of each user and item", fontsize=9.5, loc="left")
    ax.legend(frameon=False, fontsize=9)


def _corners(ordered: IntArray) -> tuple[IntArray, IntArray]:
    """Return the points of a falling step curve where a step starts or ends; a line needs no others."""
    rank = np.arange(1, len(ordered) + 1)
    change = np.diff(ordered) != 0
    shown = np.concatenate([[True], change]) | np.concatenate([change, [True]])
    return rank[shown], ordered[shown]


def _draw_time(ax: Axes, dataset: Dataset) -> None:
    """Draw the number of interactions over time."""
    import matplotlib.dates

    dates: Any = matplotlib.dates
    seconds = seconds_since_1970(dataset)
    time = dataset.interactions.time if seconds is None else seconds
    assert time is not None
    counts, edges = np.histogram(time, bins=int(np.clip(len(np.unique(time)), 1, 60)))
    places = edges
    if seconds is not None:
        places = dates.date2num([datetime.fromtimestamp(edge, tz=timezone.utc) for edge in edges])
        locator = dates.AutoDateLocator(maxticks=7)
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    ax.stairs(counts, places, fill=True, color=NEUTRAL, alpha=0.35)
    ax.stairs(counts, places, color=NEUTRAL, linewidth=1.4)
    ax.margins(x=0.01)
    ax.set_ylim(bottom=0)
    ax.set_title("interactions over time", fontsize=9.5, loc="left")


def _draw_ratings(ax: Axes, dataset: Dataset) -> None:
    """Draw how often each rating occurs; a histogram if there are more than 20 values."""
    weight = dataset.interactions.weight
    assert weight is not None
    values, counts = np.unique(weight, return_counts=True)
    if len(values) <= 20:
        ax.bar(values, counts, width=0.8 * float(np.diff(values).min()), color=NEUTRAL, alpha=0.75)
        if len(values) <= 10:
            ax.set_xticks(values)
    else:
        counts, edges = np.histogram(weight, bins=30)
        ax.stairs(counts, edges, fill=True, color=NEUTRAL, alpha=0.75)
        ax.set_yscale("log")
    ax.grid(visible=False, axis="x")
    ax.set_xlabel("rating or weight", fontsize=9)
    ax.set_title("ratings", fontsize=9.5, loc="left")
