"""Charts as inline SVG, drawn with matplotlib; the same numbers give the same text.

Matplotlib is imported when a chart is drawn, and figures are made without pyplot.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.dom import minidom

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

SERIES = ("#5f6b78", "#2468ae", "#c9581b", "#1f8463", "#8447a5", "#a37a10", "#bd3f74", "#17889e")
"""Colours of the series of a chart; series beyond them repeat the colours with another dash pattern."""

INK, SOFT, LINE, PANEL = "#1d242c", "#5b6672", "#dfe4e9", "#f5f7f9"
"""Colours of names, axis text, grid lines and background of a chart."""

WIDTH, HEIGHT = 420, 280
"""Size of a chart in user units of its SVG; a page scales it to its column."""

VARIABLES = {INK: "--ink", SOFT: "--soft", LINE: "--line", PANEL: "--panel"} | {
    colour: f"--c{n}" for n, colour in enumerate(SERIES)
}
"""CSS variable that takes the place of each colour; the page sets them for its light and dark theme."""

_ZERO: dict[str, Any] = {"color": SOFT, "linewidth": 1, "linestyle": (0, (4, 3))}
_DASHES = ("solid", (0, (3, 1.5)), (0, (1, 1.5)), (0, (4, 1.5, 1, 1.5)))


@dataclass(frozen=True)
class Series:
    """One line or set of points of a chart.

    Args:
        x: positions.
        y: values.
        low: lower ends of intervals, or empty.
        high: upper ends, or empty.
        colour: index into ``SERIES``; series of the same name on a page share one.
        name: shown in the tooltip of each point.
        line: join the points.
        marks: draw the points.
        band: draw the intervals as a band instead of bars.
        notes: a further text for the tooltip of each point, or empty.
        faint: draw small, pale points.
    """

    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    colour: int = 0
    name: str = ""
    line: bool = True
    marks: bool = True
    band: bool = False
    notes: Sequence[str] = ()
    faint: bool = False


def chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str,
    y_label: str,
    log_x: bool = False,
    x_names: Mapping[float, str] | None = None,
    zero: bool = False,
    signed: bool = False,
) -> str:
    """Return a chart as an ``<svg>`` element, or an empty string if no point is finite.

    Args:
        series: the lines and points; points that are not finite are left out.
        label: text for screen readers; different for each chart of a page, since SVG ids derive from it.
        x_label: text below the horizontal axis.
        y_label: text beside the vertical axis.
        log_x: use a logarithmic horizontal axis.
        x_names: tick labels by position on the horizontal axis, instead of numbers.
        zero: draw a line at zero and include it in the limits.
        signed: write ``+`` before positive values.
    """
    figure, ax = _figure(HEIGHT, 72, x_label, y_label)
    ax.spines["bottom"].set_visible(True)
    ax.grid(visible=True, axis="y", color=LINE)
    if log_x:
        ax.set_xscale("log")
    if zero:
        ax.axhline(0.0, gid="zero", **_ZERO)
    points = np.empty((4, 0))
    tips: list[str] = []
    for one in series:
        columns = np.array([one.x, one.y, one.low or one.y, one.high or one.y], dtype=np.float64)
        kept = np.flatnonzero(np.isfinite(columns).all(axis=0))
        if len(kept):
            points = np.hstack([points, columns[:, kept]])
            tips += _draw_series(ax, one, columns, kept, signed=signed)
    if not points.size:
        return ""
    ax.margins(0.04, 0.06)
    if x_names:
        ax.set_xticks(list(x_names), list(x_names.values()))
    elif log_x:
        ax.xaxis.set_major_formatter("{x:,.10g}")
    else:
        _set_ticks(ax.xaxis, whole=not (points[0] % 1).any())
    ax.minorticks_off()
    _set_ticks(ax.yaxis, signed=signed)
    return _svg(figure, label, tips)


class Effect(NamedTuple):
    """One row of a :func:`forest`: a difference with its interval, drawn as a filled or an open point."""

    name: str
    value: float
    low: float | None
    high: float | None
    filled: bool


def forest(effects: Sequence[Effect], *, label: str, x_label: str, colour: int = 1) -> str:
    """Return differences one below the other, each with its interval, as an ``<svg>`` element.

    Args:
        effects: rows from top to bottom; an empty string is returned if there are none.
        label: text for screen readers, as for :func:`chart`.
        x_label: text below the axis.
        colour: index into ``SERIES``.
    """
    if not effects:
        return ""
    figure, ax = _figure(24 * len(effects) + 56, 128, x_label, "")
    ax.grid(visible=True, axis="x", color=LINE)
    ax.axvline(0.0, gid="zero", **_ZERO)
    tips = []
    for row, one in enumerate(effects):
        between = None
        if one.low is not None and one.high is not None:
            between = one.low, one.high
            ax.hlines(row, *between, color=SERIES[colour], linewidth=1.5, gid="interval")
        tips.append(_tip(one.name, one.value, between, signed=True))
        (mark,) = ax.plot([one.value], [row], "o", color=SERIES[colour], markersize=9, markeredgewidth=0)
        mark.set_gid("filled" if one.filled else "open")
        if not one.filled:
            mark.set(markerfacecolor=PANEL, markersize=7, markeredgewidth=2)
    ax.margins(x=0.05)
    ax.set_ylim(len(effects) - 0.5, -0.5)
    ax.set_yticks(range(len(effects)), [one.name for one in effects], color=INK)
    _set_ticks(ax.xaxis, 5, signed=True)
    return _svg(figure, label, tips)


def number(value: float, *, signed: bool = False) -> str:
    """Return a number with four decimals or four significant digits, whichever suits its size."""
    sign = "+" if signed else ""
    if value == 0 or 0.001 <= abs(value) < 10:
        return f"{value:{sign}.4f}"
    return f"{value:{sign}.4g}" if abs(value) < 1000 else f"{value:{sign},.0f}"


def _figure(height: float, left: float, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """Return a figure with empty axes; its margins are fixed, so that no text has to be measured."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72))
    right, bottom, top = 14, 44, 12
    width, tall = (WIDTH - left - right) / WIDTH, (height - bottom - top) / height
    ax = figure.add_axes((left / WIDTH, bottom / height, width, tall))
    for patch in (figure.patch, ax.patch, ax.spines[:]):
        patch.set_visible(False)
    ax.spines["bottom"].set_color(SOFT)
    ax.tick_params(left=False, bottom=False, length=0, labelcolor=SOFT, labelsize=12, pad=6)
    turned: dict[str, Any] = {"rotation": 90, "rotation_mode": "anchor"}
    figure.text(left / WIDTH + width / 2, 6 / height, x_label, ha="center", color=SOFT)
    figure.text(12 / WIDTH, bottom / height + tall / 2, y_label, ha="center", color=SOFT, **turned)
    return figure, ax


def _draw_series(
    ax: Axes, one: Series, columns: npt.NDArray[np.float64], kept: npt.NDArray[np.intp], *, signed: bool
) -> list[str]:
    """Draw the kept points of one series and return their tooltips."""
    x, y, low, high = columns[:, kept]
    colour = SERIES[one.colour % len(SERIES)]
    if one.low and one.band:
        around = np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]])
        ax.fill(*around, color=colour, alpha=0.16, linewidth=0, gid="band")
    elif one.low:
        ax.vlines(x, low, high, color=colour, linewidth=1.5, gid="interval")
    ax.plot(
        x,
        y,
        color=colour,
        alpha=0.45 if one.faint else 1.0,
        linestyle=_DASHES[one.colour // len(SERIES) % len(_DASHES)] if one.line else "none",
        linewidth=2,
        marker="o" if one.marks else None,
        markersize=4.4 if one.faint else 7.2,
        markeredgewidth=0,
        gid="series",
    )
    ends = [(low[n], high[n]) if one.low and not one.band else None for n in range(len(x))]
    notes = [one.notes[n] for n in kept] if one.notes else [""] * len(x)
    points = zip(y, ends, notes, strict=True) if one.marks else ()
    return [_tip(one.name, *point, signed=signed) for point in points]


def _tip(
    name: str, value: float, interval: tuple[float, float] | None, note: str = "", *, signed: bool
) -> str:
    between = "[{}, {}]".format(*(number(end, signed=signed) for end in interval)) if interval else ""
    return " ".join(filter(None, (name and f"{name}:", number(value, signed=signed), between, note)))


def _set_ticks(axis: Axis, most: int = 6, *, signed: bool = False, whole: bool = False) -> None:
    """Put ticks at round positions within the limits, labelled with the digits that their step needs."""
    from matplotlib.ticker import MaxNLocator

    low, high = sorted(axis.get_view_interval())
    places = MaxNLocator(most, steps=[1, 2, 5, 10], integer=whole).tick_values(low, high)
    digits = max(0, -math.floor(math.log10(places[1] - places[0]) + 1e-9))
    places = [round(float(place), digits) + 0.0 for place in places if low <= place <= high]
    axis.set_ticks(places, [f"{place:{'+' * (signed and place > 0)},.{digits}f}" for place in places])


def _svg(figure: Figure, label: str, tips: Sequence[str]) -> str:
    """Return a figure as an ``<svg>`` element, with a tooltip for each marker.

    Colours become CSS variables, so that the chart follows the light or dark theme of its page.
    """
    import matplotlib as mpl
    from matplotlib.text import Text

    for artist in figure.findobj():
        artist.set_clip_on(False)
        if isinstance(artist, Text):
            artist.set_parse_math(False)  # a "$" in a name is no formula
    buffer = io.StringIO()
    with warnings.catch_warnings(), mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": label}):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser chooses the font
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    document = minidom.parseString(re.sub(r"[\x00-\x20]+", " ", buffer.getvalue()))
    svg = document.documentElement
    assert svg is not None
    svg.removeChild(svg.getElementsByTagName("defs")[0])  # its style sheet would apply to the whole page
    svg.removeAttribute("width")
    svg.removeAttribute("height")
    svg.setAttribute("role", "img")
    svg.setAttribute("aria-label", label)
    for group in svg.getElementsByTagName("g"):
        if group.hasAttribute("id"):  # the same in every chart, so it cannot stay an id
            group.setAttribute("class", re.sub(r"_\d+$", "", group.getAttribute("id")))
            group.removeAttribute("id")
    for text in svg.getElementsByTagName("text"):
        text.setAttribute("style", re.sub(r"font[\w-]*: [^;]*(; )?", "", text.getAttribute("style")))
    for mark, tip in zip(svg.getElementsByTagName("use"), tips, strict=True):
        title = document.createElement("title")
        title.appendChild(document.createTextNode(tip))
        mark.appendChild(title)
    return re.sub(f"(?<=: )({'|'.join(VARIABLES)})", lambda found: f"var({VARIABLES[found[0]]})", svg.toxml())
