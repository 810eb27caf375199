"""Draw figures of the measured tables of docs/studies into docs/images: ``python scripts/draw_studies.py``.

The tables in the pages are the data: a figure cannot say anything else than the table beside it.
"""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
from matplotlib import pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
STUDIES, OUT = ROOT / "docs" / "studies", ROOT / "docs" / "images"
STYLE = {
    "svg.hashsalt": "gclrec",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.constrained_layout.use": True,
}


def geometry() -> list[tuple[str, float, float, float]]:
    """Return method, alignment, uniformity of items and recall@20, where a method has vectors."""
    text = (STUDIES / "methods-compared.md").read_text(encoding="utf-8")
    rows = re.search(r"<!-- methods: begin -->(.*?)<!-- methods: end -->", text, re.DOTALL)[1]
    found = []
    for line in rows.splitlines():
        cells = [cell.strip() for cell in line.strip("| ").split("|")]
        if line.startswith("| `") and cells[5] != "-" and float(cells[7]) < 0:
            found.append((cells[0].strip("`"), float(cells[5]), float(cells[7]), float(cells[2].split()[0])))
    return found


def times() -> dict[str, list[tuple[float, float]]]:
    """Return seconds of training and validation recall@20, epoch by epoch, for each row of the table."""
    text = (STUDIES / "performance.md").read_text(encoding="utf-8").partition("## Time to quality")[2]
    return {
        name.strip("*").replace("`", ""): [
            (float(second), float(value)) for second, value in re.findall(r"(\d+): (0\.\d+)", curve)
        ]
        for name, curve in re.findall(r"^\| ([^|]+?) \| (\d+: 0\.[^|]+?) \|", text, re.MULTILINE)
    }


def draw_plane(path: Path) -> None:
    """Draw the methods by alignment and uniformity, coloured by recall."""
    rows = geometry()
    with mpl.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.5, 5))
        names, alignment, uniformity, recall = zip(*rows, strict=True)
        dots = axes.scatter(alignment, uniformity, c=recall, cmap="viridis", s=46)
        for name, x, y in zip(names, alignment, uniformity, strict=True):
            axes.annotate(name, (x, y), xytext=(5, 3), textcoords="offset points", fontsize=8)
        axes.set_xlabel("alignment (users with their items; lower is closer)")
        axes.set_ylabel("uniformity of items (lower is more even)")
        figure.colorbar(dots, label="test recall@20")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


def draw_times(path: Path) -> None:
    """Draw validation recall over seconds of training, a panel for each data set."""
    curves = times()
    with mpl.rc_context(STYLE):
        figure, panels = plt.subplots(1, 2, figsize=(8.5, 3.6))
        for axes, dataset in zip(panels, ("gowalla", "yelp2018"), strict=True):
            for name, points in curves.items():
                if f", {dataset}," in name:
                    method, _, threads = name.split(", ", 2)
                    style = "-" if threads.startswith("two") else "--"
                    seconds, recall = zip(*points, strict=True)
                    colour = "#5b4bb5" if method == "gcl_sparse" else "#d1662a"
                    label = f"{method}, {threads.split(' ')[0]}" + ("" if style == "-" else " (busy)")
                    axes.plot(seconds, recall, style, marker="o", color=colour, label=label)
            axes.set_title(dataset)
            axes.set_xlabel("seconds of training")
            axes.legend(title="method, threads", fontsize=8, title_fontsize=8, frameon=False)
        panels[0].set_ylabel("validation recall@20")
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    for name, draw in {"methods-geometry.svg": draw_plane, "time-to-quality.svg": draw_times}.items():
        draw(OUT / name)
        print(OUT / name)
