"""The floors of the house: imports point down only."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import gclrec

ROOT = Path(gclrec.__file__).parent
FLOORS = {
    "errors": 0,
    "lazy": 0,
    "data": 1,
    "graph": 2,
    "encoders": 3,
    "baselines": 4,
    "contrast": 4,
    "evaluation": 4,
    "recall": 4,
    "training": 5,
    "report": 6,
}
COMMAND_FLOOR = 7
SIDEWAYS = {("recall", "evaluation"), ("baselines", "evaluation")}  # they rank with the code that evaluates
ROOMS = ("graph", "contrast", "evaluation", "recall")
FILES = sorted(ROOT.rglob("*.py"))


def room(parts: tuple[str, ...]) -> str:
    return parts[0].removesuffix(".py")


def imported(path: Path) -> set[tuple[str, ...]]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gclrec"):
            names.add(tuple(node.module.split(".")[1:]))
        elif isinstance(node, ast.Import):
            names |= {
                tuple(alias.name.split(".")[1:]) for alias in node.names if alias.name.startswith("gclrec.")
            }
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = room(path.relative_to(ROOT).parts)
    if here == "__init__":
        pytest.skip("the package's front door names what it loads when asked")
    floor = FLOORS.get(here, COMMAND_FLOOR)
    for parts in imported(path):
        if not parts:
            continue
        there = room(parts)
        assert there in FLOORS or floor == COMMAND_FLOOR, f"{path.name} imports the command {there}"
        if there == here:
            continue
        below = FLOORS.get(there, COMMAND_FLOOR)
        assert below < floor or (below == floor == COMMAND_FLOOR) or (here, there) in SIDEWAYS, (
            f"{here} imports {there}"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_is_a_warehouse(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420


def test_only_commands_print_or_exit() -> None:
    for path in FILES:
        if path.parent == ROOT:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"print", "exit", "input", "eval", "exec"}, path
            if isinstance(node, ast.Attribute):
                assert node.attr != "exit", path


def test_front_door_is_cheap() -> None:
    """Importing the package loads neither torch nor anything that is slow to import."""
    import subprocess
    import sys

    slow = "{'torch', 'polars', 'faiss', 'torch_geometric', 'matplotlib'}"
    code = f"import sys, gclrec; print(sorted({slow} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["gclrec", *(f"gclrec.{name}" for name in ROOMS)])
def test_doors_open(package: str) -> None:
    """Every name that a package lists can be had, and is listed by ``dir``."""
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018
