"""constraints-lowest.txt, which a second run of the tests installs, holds the bounds of pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from packaging.requirements import Requirement

from gclrec.common.files import read_toml

ROOT = Path(__file__).resolve().parent.parent
TOOLS = {"mypy", "ruff", "gclrec"}
"""What no test imports."""


def test_every_lower_bound_is_installed() -> None:
    project = read_toml(ROOT / "pyproject.toml")["project"]
    extras = project["optional-dependencies"]
    named = [
        *project["dependencies"],
        *(
            each
            for extra in (
                "bench",
                "docs",
                "mcp",
                "pgvector",
                "qdrant",
                "serve",
                "tensorboard",
                "tune",
                "test",
            )
            for each in extras[extra]
        ),
    ]
    bounds = {
        found.name: str(found.specifier) for found in map(Requirement, named) if found.name not in TOOLS
    }
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pinned.keys() == bounds.keys()
    for name, bound in bounds.items():
        low = bound.removeprefix(">=").split(".")
        assert pinned[name].split(".")[: len(low)] == low, name
