"""One self-contained HTML page: no network, no script, light and dark, for a desk and for a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from gclrec import __version__
from gclrec.report.charts import COLOURS

_LIGHT = ("#5f6b78", "#2468ae", "#c9581b", "#1f8463", "#8447a5", "#a37a10", "#bd3f74", "#17889e")
_DARK = ("#a4afbb", "#6cabee", "#f2935a", "#55c39b", "#c290e0", "#dcb84e", "#ee84b0", "#59c6da")

_STYLE = """
:root { color-scheme: light dark; --ink: #1d242c; --soft: #5b6672; --paper: #ffffff; --panel: #f5f7f9;
  --line: #dfe4e9; --shade: #b9c3cd; --good: #17724f; --bad: #b23a1d; LIGHT }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9ee; --soft: #a0abb7; --paper: #14181d;
  --panel: #1c2229; --line: #343d47; --shade: #000000; --good: #62cba0; --bad: #f28d70; DARK } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); -webkit-text-size-adjust: 100%;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 6px; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 10px; }
h3 { font-size: 1rem; margin: 0 0 4px; }
p, li { max-width: 78ch; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.lead { color: var(--soft); margin: 0 0 4px; max-width: none; overflow-wrap: anywhere; }
ul { padding-left: 1.2em; }
li { margin: 6px 0; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; margin: 12px 0;
  background: linear-gradient(90deg, var(--paper) 30px, transparent 60px) local,
    linear-gradient(270deg, var(--paper) 30px, transparent 60px) local,
    linear-gradient(90deg, var(--shade), transparent 16px),
    linear-gradient(270deg, var(--shade), transparent 16px); }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 10px; text-align: right; white-space: nowrap; }
th { background: var(--panel); font-weight: 600; border-bottom: 1px solid var(--line); }
th.text, td.text { text-align: left; }
td.wrap { white-space: normal; overflow-wrap: anywhere; }
tr.above td { border-top: 1px solid var(--line); font-weight: 600; padding-top: 10px; }
tr.above span { position: sticky; left: 12px; }
tr.better td:last-child { color: var(--good); font-weight: 600; }
tr.worse td:last-child { color: var(--bad); font-weight: 600; }
tr.base td { color: var(--soft); }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); gap: 16px; }
figure { margin: 0; padding: 14px 14px 10px; background: var(--panel); border-radius: 10px; min-width: 0; }
figcaption { margin-top: 4px; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12px; }
svg text.name { fill: var(--ink); }
svg .mid { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .grid { stroke: var(--line); }
svg .axis { stroke: var(--soft); }
svg .zero { stroke: var(--soft); stroke-dasharray: 4 3; }
svg .line, svg .bar { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; }
svg .bar { stroke-width: 1.5; }
svg .band { fill: currentColor; opacity: .16; }
svg .faint { opacity: .45; }
svg circle { fill: currentColor; }
svg circle.open { fill: var(--panel); stroke: currentColor; stroke-width: 2; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 10px 0 14px; padding: 0; list-style: none; }
.legend li { margin: 0; font-size: .9rem; overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; background: currentColor;
  margin-right: 7px; vertical-align: -1px; }
.legend span { color: var(--ink); }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--soft); }
code { font-size: .9em; overflow-wrap: anywhere; }
footer { margin-top: 48px; color: var(--soft); font-size: .85rem; }
@media (max-width: 600px) { main { padding: 18px 14px 40px; } th, td { padding: 5px 8px; }
  h1 { font-size: 1.35rem; } figure { padding: 10px 8px 8px; } svg text { font-size: 14px; } }
SERIES
@media print { figure, tr { break-inside: avoid; } }
"""


def page(title: str, lead: Sequence[str], sections: Sequence[str]) -> str:
    """Return a whole page.

    Args:
        title: heading and name of the window.
        lead: lines below the heading.
        sections: HTML, from top to bottom; empty ones are left out.
    """
    style = _STYLE.replace("LIGHT", _colours(_LIGHT)).replace("DARK", _colours(_DARK))
    style = style.replace("SERIES", "\n".join(f".s{n} {{ color: var(--c{n}); }}" for n in range(COLOURS)))
    head = "".join(f'<p class="lead">{escape(line)}</p>' for line in lead)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{head}\n"
        + "\n".join(section for section in sections if section)
        + f"\n<footer>Made by gclrec {__version__}.</footer>\n</main>\n</body>\n</html>\n"
    )


def _colours(values: Sequence[str]) -> str:
    return " ".join(f"--c{n}: {value};" for n, value in enumerate(values))


def section(title: str, *parts: str) -> str:
    """Return parts under a heading, or nothing if there is none."""
    inside = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{inside}\n</section>" if inside else ""


def paragraph(text: str, *, soft: bool = False) -> str:
    """Return a paragraph of plain text."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def bullets(texts: Sequence[str]) -> str:
    """Return a list of plain texts."""
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[int] = (0,),
    wrap: Sequence[int] = (),
    classes: Sequence[str] = (),
    above: Mapping[int, str] | None = None,
) -> str:
    """Return a table that scrolls sideways where it is too wide.

    Args:
        head: names of the columns.
        rows: cells.
        text: columns that are aligned to the left.
        wrap: columns whose text may break.
        classes: class of each row, or nothing.
        above: lines that stand above a row, across all columns, by the number of the row.
    """
    if not rows:
        return ""

    def cell(tag: str, column: int, content: str) -> str:
        kinds = [kind for kind, columns in (("text", text), ("wrap", wrap)) if column in columns]
        start = f'<{tag} class="{" ".join(kinds)}">' if kinds else f"<{tag}>"
        return f"{start}{escape(content)}</{tag}>"

    lines = ["<tr>" + "".join(cell("th", n, name) for n, name in enumerate(head)) + "</tr>"]
    for place, row in enumerate(rows):
        if above and place in above:
            lines.append(
                f'<tr class="above"><td class="text" colspan="{len(head)}">'
                f"<span>{escape(above[place])}</span></td></tr>"
            )
        start = f'<tr class="{classes[place]}">' if classes and classes[place] else "<tr>"
        lines.append(start + "".join(cell("td", n, content) for n, content in enumerate(row)) + "</tr>")
    return f'<div class="wide" tabindex="0"><table>{"".join(lines)}</table></div>'


def figure(title: str, drawing: str, caption: str = "") -> str:
    """Return a drawing with its title and caption, or nothing if there is no drawing."""
    if not drawing:
        return ""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure><h3>{escape(title)}</h3>{drawing}{below}</figure>"


def charts(figures: Sequence[str]) -> str:
    """Return figures side by side, as many as there is room for."""
    return f'<div class="charts">{"".join(figures)}</div>' if any(figures) else ""


def legend(names: Mapping[str, int]) -> str:
    """Return what the colours mean, by name."""
    marks = "".join(
        f'<li class="s{colour % COLOURS}"><i></i><span>{escape(name)}</span></li>'
        for name, colour in names.items()
    )
    return f'<ul class="legend">{marks}</ul>'


def folded(summary: str, inside: str) -> str:
    """Return a part that is shown when asked for."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>" if inside else ""
