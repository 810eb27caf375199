"""Train every method on one data set and write the table of them into docs/studies/methods-compared.md.

``python scripts/methods_table.py`` runs ``gclrec compare`` over all methods (three seeds, the weight of a
contrast chosen on validation) and continues where it was interrupted; ``--table-only`` only writes the table
of the finished runs.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path
from urllib.parse import unquote

from gclrec.cli.compare import main as compare
from gclrec.common.files import read_json, write_atomically
from gclrec.runs.folder import RunFolder
from gclrec.settings.methods import METHODS

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- methods: begin -->", "<!-- methods: end -->"
FIGURES = {
    "recall@20": ("metrics", "test/all/recall@20"),
    "ndcg@20": ("metrics", "test/all/ndcg@20"),
    "tail recall@20": ("metrics", "test/tail_items/recall@20"),
    "alignment": ("geometry", "alignment"),
    "uniformity, users": ("geometry", "users/uniformity"),
    "uniformity, items": ("geometry", "items/uniformity"),
    "epoch": ("", "epochs"),
    "seconds": ("", "seconds"),
}


def command(arguments: argparse.Namespace) -> list[str]:
    """Return the arguments of ``gclrec compare``."""
    return [
        *("--dataset", arguments.dataset, "--split", arguments.split, "--methods", ",".join(METHODS)),
        *("--against", "lightgcn", "--grid", arguments.grid, "--seeds", str(arguments.seeds)),
        *("--epochs", str(arguments.epochs), "--batch-size", str(arguments.batch_size)),
        *("--out", str(arguments.out)),
    ]


def rows_of(out: Path) -> list[dict[str, str | float]]:
    """Return mean and spread of each figure over the seeds, at the setting that validation chose."""
    runs: dict[str, dict[str, list[RunFolder]]] = {}
    for folder in sorted((out / "runs").iterdir()):
        name, *settings, _ = map(unquote, folder.name.split("__"))
        if (folder / "result.json").is_file():
            runs.setdefault(name, {}).setdefault(" ".join(settings), []).append(RunFolder(folder))
    rows = []
    for name, by_setting in runs.items():
        setting = max(by_setting, key=lambda key: statistics.mean(map(best_validation, by_setting[key])))
        results = [read_json(run.path / "result.json") for run in by_setting[setting]]
        row: dict[str, str | float] = {"method": name, "setting": setting, "seeds": len(results)}
        for figure, (part, key) in FIGURES.items():
            values = [(result[part] if part else result).get(key) for result in results]
            known = [float(value) for value in values if value is not None]
            row[figure] = statistics.mean(known) if known else float("nan")
            row[f"{figure} spread"] = statistics.stdev(known) if len(known) > 1 else 0.0
        rows.append(row)
    return sorted(rows, key=lambda row: -float(row["recall@20"]))


def best_validation(run: RunFolder) -> float:
    """Return the validation figure that the epoch was chosen by."""
    return max(line.get("valid/all/recall@20", 0.0) for line in run.metrics())


def markdown(rows: list[dict[str, str | float]]) -> str:
    """Return the rows as a Markdown table; the spread over seeds follows the mean."""
    lines = [
        "| method | chosen on validation | " + " | ".join(FIGURES) + " |",
        "|---|---|" + "---:|" * len(FIGURES),
    ]
    for row in rows:
        cells = [f"`{row['method']}`", str(row["setting"]) or "-"]
        for figure in FIGURES:
            value, spread = float(row[figure]), float(row[f"{figure} spread"])
            digits = 0 if figure in ("epoch", "seconds") else 2 if "iformity" in figure else 4
            known = f"{value:.{digits}f}" + (f" ± {spread:.{digits}f}" if "@" in figure else "")
            cells.append("-" if math.isnan(value) else known)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write_between(page: Path, content: str) -> None:
    """Replace the text between the two marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, mark, after = rest.partition(END)
    if not mark:
        raise SystemExit(f"{page}: expected {BEGIN} and {END} in it")
    write_atomically(page, f"{before}{BEGIN}\n\n{content}\n\n{END}{after}")


def main() -> None:
    """Train the missing runs and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--split", default="random")
    parser.add_argument("--grid", default="ssl-weight=0.02,0.1")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("runs/methods"))
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "studies" / "methods-compared.md")
    parser.add_argument("--table-only", action="store_true")
    arguments = parser.parse_args()
    if not arguments.table_only:
        compare(command(arguments))
    typed = " ".join(["gclrec compare", *command(arguments)])
    write_between(arguments.page, markdown(rows_of(arguments.out)) + f"\n\nMade by `{typed}`.")
    print(arguments.page)


if __name__ == "__main__":
    main()
