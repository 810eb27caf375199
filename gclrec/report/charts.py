"""Charts as inline SVG: drawn from numbers alone, coloured by the page, sharp at every width."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 280
COLOURS = 8
"""Number of colours that a page has; series beyond them begin again with another mark."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 44
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Series:
    """One line or set of points of a chart.

    Args:
        x: places.
        y: values.
        low: lower ends of intervals, or empty.
        high: upper ends, or empty.
        colour: number of the colour; series of the same name on a page share one.
        name: told when the mouse rests on a mark.
        line: join the points.
        marks: draw the points.
        band: draw the intervals as a band instead of bars.
        notes: what to tell of each point besides its value, or empty.
        faint: draw it in the background.
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
    """Return a chart as an ``<svg>`` element; an empty text where there is nothing to draw.

    Args:
        series: what is drawn; values that are not finite are left out.
        label: what it shows, for those who cannot see it.
        x_label: below the axis.
        y_label: beside the axis, upright.
        log_x: whether the horizontal axis is logarithmic.
        x_names: names at places of the horizontal axis, in the place of numbers.
        zero: draw a line at zero, and make room for it.
        signed: write ``+`` before positive values.
    """
    series = [kept for one in series if (kept := _finite(one)) is not None]
    if not series:
        return ""
    across: Callable[[float], float] = math.log10 if log_x else float
    xs = [across(x) for one in series for x in one.x] + [across(x) for x in x_names or ()]
    ys = [y for one in series for y in (*one.y, *one.low, *one.high)] + ([0.0] if zero else [])
    x_ticks = {across(x): name for x, name in x_names.items()} if x_names else _ticks(xs, log=log_x)
    y_low, y_high = _padded(ys, 0.06)
    y_ticks = {y: name for y, name in _ticks([y_low, y_high], signed=signed).items() if y_low <= y <= y_high}
    x_low, x_high = _padded(xs, 0.04)
    to_x = _scale(x_low, x_high, _LEFT, WIDTH - _RIGHT)
    to_y = _scale(y_low, y_high, HEIGHT - _BOTTOM, _TOP)

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">']
    for y, name in y_ticks.items():
        at = f"{to_y(y):.1f}"
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick end" x="{_LEFT - 7}" y="{to_y(y) + 4:.1f}">{escape(name)}</text>')
    for x, name in x_ticks.items():
        if x_low <= x <= x_high:
            place = f'x="{to_x(x):.1f}" y="{HEIGHT - _BOTTOM + 16}"'
            parts.append(f'<text class="tick mid" {place}>{escape(name)}</text>')
    base = HEIGHT - _BOTTOM
    parts.append(f'<line class="axis" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{base}" y2="{base}"/>')
    if zero:
        at = f"{to_y(0.0):.1f}"
        parts.append(f'<line class="zero" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="label mid" x="{middle}" y="{HEIGHT - 8}">{escape(x_label)}</text>')
    turned = f'transform="translate(13 {(_TOP + base) / 2}) rotate(-90)"'
    parts.append(f'<text class="label mid" {turned}>{escape(y_label)}</text>')
    for one in series:
        parts += _drawn(one, lambda x: to_x(across(x)), to_y, signed=signed)
    return "".join([*parts, "</svg>"])


def _finite(one: Series) -> Series | None:
    columns = [column for column in (one.low, one.high) if len(column)]
    kept = [
        n
        for n in range(len(one.x))
        if all(math.isfinite(value) for value in (one.x[n], one.y[n], *(column[n] for column in columns)))
    ]
    if not kept:
        return None

    def pick(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(values[n] for n in kept) if len(values) else ()

    notes = tuple(one.notes[n] for n in kept) if one.notes else ()
    return Series(
        pick(one.x),
        pick(one.y),
        pick(one.low),
        pick(one.high),
        one.colour,
        one.name,
        one.line,
        one.marks,
        one.band,
        notes,
        one.faint,
    )


def _drawn(
    one: Series, to_x: Callable[[float], float], to_y: Callable[[float], float], *, signed: bool
) -> list[str]:
    points = [(to_x(x), to_y(y)) for x, y in zip(one.x, one.y, strict=True)]
    faint = " faint" if one.faint else ""
    parts = [f'<g class="s{one.colour % COLOURS}{faint}">']
    ends = [(to_y(low), to_y(high)) for low, high in zip(one.low, one.high, strict=True)]
    if ends and one.band:
        upper = [f"{x:.1f},{high:.1f}" for (x, _), (_, high) in zip(points, ends, strict=True)]
        lower = [f"{x:.1f},{low:.1f}" for (x, _), (low, _) in zip(points, ends, strict=True)]
        parts.append(f'<polygon class="band" points="{" ".join(upper + lower[::-1])}"/>')
    elif ends:
        for (x, _), (low, high) in zip(points, ends, strict=True):
            cap = f"M{x - 3:.1f} {high:.1f}h6M{x:.1f} {high:.1f}V{low:.1f}M{x - 3:.1f} {low:.1f}h6"
            parts.append(f'<path class="bar" d="{cap}"/>')
    if one.line and len(points) > 1:
        dash = _DASHES[one.colour // COLOURS % len(_DASHES)]
        style = f' stroke-dasharray="{dash}"' if dash else ""
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line" points="{line}"{style}/>')
    if one.marks:
        for n, (x, y) in enumerate(points):
            told = f"{one.name}: {number(one.y[n], signed=signed)}" if one.name else number(one.y[n])
            if ends and not one.band:
                told += f" [{number(one.low[n], signed=signed)}, {number(one.high[n], signed=signed)}]"
            told += f" {one.notes[n]}" if one.notes else ""
            size = 2.2 if one.faint else 3.6
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size}"><title>{escape(told)}</title></circle>'
            )
    return [*parts, "</g>"]


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _padded(values: Sequence[float], share: float) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * share or max(abs(high), 1e-6) * 0.1
    return low - room, high + room


def _ticks(values: Sequence[float], *, log: bool = False, signed: bool = False) -> dict[float, str]:
    """Return four or five round places from the lowest to the highest value, with their names."""
    low, high = min(values), max(values)
    if log and high - low > 0.9:
        whole = range(math.floor(low), math.ceil(high) + 1)
        return {float(power): f"{10.0**power:,.{max(0, -power)}f}" for power in whole}
    step = _round_step((high - low) / 5 or max(abs(high), 1e-6) / 5)
    if not log and all(float(value).is_integer() for value in values):
        step = max(step, 1.0)  # there is no epoch and a half
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    places = [n * step for n in range(first, last + 1)]
    if log:
        return {place: f"{10**place:,.3g}" for place in places}
    digits = max(0, -math.floor(math.log10(step) + 1e-9))

    def name(place: float) -> str:
        sign = "+" if signed and place > step / 2 else ""
        return f"{place + 0.0:{sign},.{digits}f}"

    return {place: name(place) for place in places}


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.999)


def number(value: float, *, signed: bool = False) -> str:
    """Return a number with as many digits as a reader needs."""
    sign = "+" if signed else ""
    if value == 0 or 0.001 <= abs(value) < 10:
        return f"{value:{sign}.4f}"
    return f"{value:{sign}.4g}" if abs(value) < 1000 else f"{value:{sign},.0f}"


@dataclass(frozen=True)
class Effect:
    """One row of a :func:`forest`.

    Args:
        name: what it is about.
        value: the difference.
        low: lower end of its interval, ``None`` if not known.
        high: upper end.
        sure: draw it filled.
    """

    name: str
    value: float
    low: float | None
    high: float | None
    sure: bool


def forest(effects: Sequence[Effect], *, label: str, x_label: str, colour: int = 1) -> str:
    """Return differences one below the other, each with its interval beside a line at zero.

    Args:
        effects: rows from top to bottom.
        label: what it shows, for those who cannot see it.
        x_label: below the axis.
        colour: number of the colour.
    """
    if not effects:
        return ""
    left, step = 128, 24
    height = _TOP + step * len(effects) + _BOTTOM
    ends = [v for one in effects for v in (one.value, one.low, one.high, 0.0) if v is not None]
    low, high = _padded(ends, 0.05)
    to_x = _scale(low, high, left, WIDTH - _RIGHT)
    base = height - _BOTTOM
    parts = [f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">']
    for x, name in _ticks([low, high], signed=True).items():
        at = f"{to_x(x):.1f}"
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP}" y2="{base}"/>')
        parts.append(f'<text class="tick mid" x="{at}" y="{base + 16}">{escape(name)}</text>')
    at = f"{to_x(0.0):.1f}"
    parts.append(f'<line class="zero" x1="{at}" x2="{at}" y1="{_TOP}" y2="{base}"/>')
    middle = (left + WIDTH - _RIGHT) / 2
    parts.append(f'<text class="label mid" x="{middle}" y="{height - 8}">{escape(x_label)}</text>')
    parts.append(f'<g class="s{colour % COLOURS}">')
    for row, one in enumerate(effects):
        y = _TOP + step * (row + 0.5)
        parts.append(f'<text class="name end" x="{left - 10}" y="{y + 4:.1f}">{escape(one.name)}</text>')
        told = f"{one.name}: {number(one.value, signed=True)}"
        if one.low is not None and one.high is not None:
            x1, x2 = f"{to_x(one.low):.1f}", f"{to_x(one.high):.1f}"
            parts.append(f'<path class="bar" d="M{x1} {y - 4}v8M{x1} {y}H{x2}M{x2} {y - 4}v8"/>')
            told += f" [{number(one.low, signed=True)}, {number(one.high, signed=True)}]"
        kind = "" if one.sure else ' class="open"'
        title = f"<title>{escape(told)}</title>"
        parts.append(f'<circle cx="{to_x(one.value):.1f}" cy="{y}" r="4.5"{kind}>{title}</circle>')
    return "".join([*parts, "</g></svg>"])
