"""Draw the pipeline and the floors of the package into docs/images: ``python scripts/draw_diagrams.py``.

Each picture is written for a light and for a dark page. A test compares them, so the floors are the code's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "images"

EDGES = ((0, 0), (0, 1), (1, 1), (1, 2), (2, 0), (2, 3), (2, 4), (3, 2), (3, 4))
"""User and item of the interactions that are drawn."""

VIEWS = ({1, 6}, {0, 5, 7})
"""Places in ``EDGES`` of those that each view drops."""

ROOMS = {
    "cli": "parse, call, print",
    "studies": "compare and tune from Python",
    "api": "fit, load_run",
    "report": "charts and pages",
    "serving": "HTTP, tools for assistants",
    "experiments": "comparisons, tuning, statistics",
    "training": "a step, the loop, a run",
    "stores": "vector databases",
    "settings": "derived from what components declare",
    "recall": "index, recommender, new items",
    "contrast": "what is compared with what",
    "evaluation": "exact ranking, groups",
    "baselines": "fitted once",
    "views": "how positives are made",
    "losses": "on plain tensors",
    "negatives": "what users are not drawn to",
    "encoders": "from a graph to vectors",
    "graph": "propagation, augmentations",
    "runs": "the run folder",
    "data": "readers, catalogue, splits",
    "common": "files, declarations, errors",
}
"""What each package is for, in three or four words."""


@dataclass(frozen=True)
class Theme:
    """Colours of a picture."""

    text: str
    soft: str
    line: str
    panel: str
    user: str
    item: str
    accent: str


THEMES = {
    "light": Theme("#1f2933", "#5b6773", "#9aa5b1", "#f3f5f8", "#2f6fb0", "#d1662a", "#5b4bb5"),
    "dark": Theme("#e6e9ed", "#a9b3be", "#6b7785", "#20262d", "#6cb0f0", "#f0965c", "#a89bf2"),
}


def pipeline(theme: Theme) -> str:
    """Return the way from a table to a list: two views, one encoder, contrast beside ranking."""
    parts = [
        *_table(theme, 10, 95),
        *_arrow(theme, 142, 152, 172, 152),
        *_graph(theme, 180, 92, "graph", set()),
        *_arrow(theme, 300, 126, 332, 92),
        *_arrow(theme, 300, 178, 332, 212),
        *_graph(theme, 340, 20, "view 1", VIEWS[0]),
        *_graph(theme, 340, 172, "view 2", VIEWS[1]),
        *_arrow(theme, 460, 92, 492, 126),
        *_arrow(theme, 460, 212, 492, 178),
        *_box(theme, 500, 112, 118, 80, "encoder", "LightGCN, …", theme.accent),
        *_arrow(theme, 618, 138, 652, 92),
        *_arrow(theme, 618, 166, 652, 212),
        *_box(theme, 660, 50, 170, 80, "contrast", "same node, two views", theme.accent),
        *_box(theme, 660, 174, 170, 80, "ranking", "user and item of a pair", theme.user),
        *_arrow(theme, 830, 92, 864, 138),
        *_arrow(theme, 830, 212, 864, 166),
        *_box(theme, 872, 112, 110, 80, "index", "inner product", theme.item),
        *_arrow(theme, 982, 152, 1014, 152),
        *_top(theme, 1022, 95),
    ]
    return _svg(
        1140, 304, parts, "From interactions to top-k: a graph, two views, one encoder, contrast and ranking"
    )


def floors(theme: Theme, plan: dict[str, int]) -> str:
    """Return the packages by floor; imports point down only.

    Args:
        theme: colours.
        plan: floor of each package, as tests/test_layout.py has it.
    """
    levels = sorted(set(plan.values()), reverse=True)
    parts: list[str] = []
    for row, level in enumerate(levels):
        rooms = [name for name in ROOMS if plan[name] == level]
        y, width = 10 + 58 * row, (960 - 10 * (len(rooms) - 1)) / len(rooms)
        for place, name in enumerate(rooms):
            colour = theme.accent if level in (3, 4, 5) else theme.user if level > 5 else theme.item
            parts += _box(theme, 70 + place * (width + 10), y, width, 48, name, ROOMS[name], colour)
    bottom = 10 + 58 * len(levels)
    parts += _arrow(theme, 35, 20, 35, bottom - 14)
    parts.append(_text(35, bottom + 6, "imports", theme.soft, 13))
    return _svg(1040, bottom + 16, parts, "The packages of gclrec by floor: imports point down only")


def _svg(width: int, height: int, parts: list[str], title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", *parts, "</svg>"]) + "\n"


def _text(
    x: float, y: float, text: str, colour: str, size: int, weight: int = 400, anchor: str = "middle"
) -> str:
    return (
        f'<text x="{x:g}" y="{y:g}" fill="{colour}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _panel(theme: Theme, x: float, y: float, width: float, height: float, edge: str) -> str:
    return (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="9" fill="{theme.panel}" '
        f'stroke="{edge}" stroke-width="1.5"/>'
    )


def _box(
    theme: Theme, x: float, y: float, width: float, height: float, name: str, about: str, colour: str
) -> Iterator[str]:
    yield _panel(theme, x, y, width, height, colour)
    middle = y + height / 2
    yield _text(x + width / 2, middle - 3, name, theme.text, 16, 600)
    yield _text(x + width / 2, middle + 16, about, theme.soft, 13)


def _arrow(theme: Theme, x1: float, y1: float, x2: float, y2: float) -> Iterator[str]:
    length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
    dx, dy = (x2 - x1) / length, (y2 - y1) / length
    back = (x2 - 8 * dx, y2 - 8 * dy)
    yield (
        f'<line x1="{x1:g}" y1="{y1:g}" x2="{back[0]:.1f}" y2="{back[1]:.1f}" stroke="{theme.line}" '
        f'stroke-width="2"/>'
    )
    left, right = (back[0] - 4 * dy, back[1] + 4 * dx), (back[0] + 4 * dy, back[1] - 4 * dx)
    corners = " ".join(f"{a:.1f},{b:.1f}" for a, b in ((x2, y2), left, right))
    yield f'<polygon points="{corners}" fill="{theme.line}"/>'


def _graph(theme: Theme, x: float, y: float, name: str, dropped: set[int]) -> Iterator[str]:
    yield _panel(theme, x, y, 120, 112, theme.line)
    users = [(x + 26, y + 20 + 20 * number) for number in range(4)]
    items = [(x + 94, y + 14 + 18 * number) for number in range(5)]
    for number, (user, item) in enumerate(EDGES):
        (x1, y1), (x2, y2) = users[user], items[item]
        style = 'stroke-dasharray="2 4" opacity="0.45"' if number in dropped else 'opacity="0.9"'
        yield f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{theme.soft}" {style}/>'
    yield from (f'<circle cx="{a:g}" cy="{b:g}" r="5.5" fill="{theme.user}"/>' for a, b in users)
    yield from (
        f'<rect x="{a - 5:g}" y="{b - 5:g}" width="10" height="10" fill="{theme.item}"/>' for a, b in items
    )
    yield _text(x + 60, y + 107, name, theme.text, 13, 600)


def _table(theme: Theme, x: float, y: float) -> Iterator[str]:
    yield _panel(theme, x, y, 130, 112, theme.line)
    yield _text(x + 16, y + 24, "user", theme.user, 13, 600, "start")
    yield _text(x + 72, y + 24, "item", theme.item, 13, 600, "start")
    for number, (user, item) in enumerate((("alice", "teapot"), ("alice", "cup"), ("bob", "cup"))):
        yield _text(x + 16, y + 46 + 20 * number, user, theme.soft, 13, 400, "start")
        yield _text(x + 72, y + 46 + 20 * number, item, theme.soft, 13, 400, "start")
    yield _text(x + 65, y + 107, "interactions", theme.text, 13, 600)


def _top(theme: Theme, x: float, y: float) -> Iterator[str]:
    yield _panel(theme, x, y, 108, 112, theme.line)
    for rank, width in enumerate((62, 50, 36), 1):
        yield _text(x + 18, y + 6 + 20 * rank, str(rank), theme.soft, 13)
        yield (
            f'<rect x="{x + 32:g}" y="{y - 4 + 20 * rank:g}" width="{width}" height="10" rx="3" '
            f'fill="{theme.item}"/>'
        )
    yield _text(x + 54, y + 107, "top k", theme.text, 13, 600)


def pictures() -> dict[str, str]:
    """Return every picture by the name of its file."""
    sys.path.insert(0, str(ROOT))
    from tests.test_layout import FLOORS

    return {
        f"{name}-{tone}.svg": text
        for tone, theme in THEMES.items()
        for name, text in (("pipeline", pipeline(theme)), ("floors", floors(theme, FLOORS)))
    }


if __name__ == "__main__":
    for name, text in pictures().items():
        (OUT / name).write_text(text, encoding="utf-8")
        print(OUT / name)
