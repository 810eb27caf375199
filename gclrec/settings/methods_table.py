"""The table of methods, read off ``METHODS`` and the defaults: for ``gclrec methods`` and docs/methods.md."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from gclrec.contrast import SSL
from gclrec.settings.config import TrainConfig, flag
from gclrec.settings.methods import METHODS

COLUMNS = ("method", "views", "encoder", "loss", "negatives", "ssl", "source")


def method_rows() -> list[dict[str, str]]:
    """Return one row a method with the keys of :data:`COLUMNS`; ``-`` where a column does not apply."""
    return [_row(name) for name in METHODS]


def methods_page() -> str:
    """Return docs/methods.md."""
    lines = [
        "# Methods",
        "",
        "A method is a set of settings under one name, `gclrec train --method NAME`; flags and",
        "`--config` override them, and everything that is not named keeps its default. `gclrec",
        "methods` prints this table. Made by `python scripts/methods_page.py` from `METHODS`; a test",
        "holds it to that.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
    ]
    for row in method_rows():
        cells = {**row, "method": f"`{row['method']}`", "source": _linked(row["source"])}
        lines.append("| " + " | ".join(cells[column] for column in COLUMNS) + " |")
    lines += ["", "## Settings of each", "", "| method | settings |", "|---|---|"]
    for name, method in METHODS.items():
        settings = " ".join(f"{flag(key)} {value}" for key, value in method.settings.items())
        lines.append(f"| `{name}` | `{settings}` |")
    lines += [
        "",
        "## Baselines",
        "",
        "`popularity`, `item_knn`, `content_knn`, `pure_svd` and `gf_cf` are fitted once, on the CPU,",
        "without epochs, and go through the same split, evaluation and run folder. `popularity` and",
        "`pure_svd` have vectors and can be exported and served; `item_knn`, `content_knn` and `gf_cf`",
        "rank without vectors: `gclrec export` and `recommend` say so in one line, and `gclrec evaluate`",
        "fits them again, to the same numbers. `--refit` fits to train and validation together.",
        "`content_knn` needs attributes of the items (docs/attributes.md).",
        "",
        "| baseline | score of item `j` for user `u` | settings |",
        "|---|---|---|",
        "| `popularity` | training interactions of `j` | none |",
        "| `item_knn` | sum of `cos(i, j)` over the user's items among the nearest of `j` |"
        " `--neighbours`, `--shrink` |",
        "| `content_knn` | TF-IDF cosine of the user's items together and `j`, by the items' attributes |"
        " `--item-attributes`, `--attribute-min-count` |",
        "| `pure_svd` | `r_u Q q_j`, from the truncated SVD of the interaction matrix | `--dim`, `--seed` |",
        "| `gf_cf` | `r_u (R'R + a D^-1/2 V V' D^1/2)`: linear filter plus ideal low-pass of the normalised"
        " matrix | `--rank`, `--low-pass` (`a`), `--seed` |",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str) -> dict[str, str]:
    method = METHODS[name]
    values: dict[str, Any] = {**dataclasses.asdict(TrainConfig()), **method.settings}
    contrasts = TrainConfig(**values).contrasts
    row = dict.fromkeys(COLUMNS, "-") | {"method": name, "source": method.source}
    if values["baseline"]:
        return row
    return row | {
        "views": str(values["aug"]) if contrasts and SSL[values["ssl"]].views else "-",
        "encoder": str(values["encoder"]),
        "loss": str(values["loss"]),
        "negatives": str(values["negatives"]),
        "ssl": str(values["ssl"]) if contrasts else "-",
    }


def _linked(source: str) -> str:
    return re.sub(r"^(.*), (https://\S+)$", r"[\1](\2)", source)
