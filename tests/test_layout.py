"""The floors of the house: imports point down only, and nothing is named twice."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import gclrec

ROOT = Path(gclrec.__file__).parent
FLOORS = {
    "common": 0,
    "data": 1,
    "graph": 2,
    "runs": 2,
    "encoders": 3,
    "views": 4,
    "losses": 4,
    "negatives": 4,
    "contrast": 5,
    "evaluation": 5,
    "baselines": 5,
    "settings": 6,
    "recall": 6,
    "training": 7,
    "stores": 7,
    "serving": 8,
    "experiments": 8,
    "report": 9,
    "api": 10,
    "studies": 11,
    "cli": 12,
}
SIDEWAYS = {("baselines", "evaluation")}  # baselines rank with the code that evaluates
TOP = {"train", "__main__", "__init__"}  # entry points
ROOMS = ("graph", "contrast", "losses", "views", "evaluation", "recall")
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
    if here in TOP:
        pytest.skip("an entry point names what it loads when asked")
    for parts in imported(path):
        if not parts:
            continue
        there = room(parts)
        if there == here:
            continue
        assert FLOORS[there] < FLOORS[here] or (here, there) in SIDEWAYS, f"{here} imports {there}"


def modules_imported(path: Path) -> set[str]:
    """Return what a file imports, in functions and for type checking as well; more names than modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def test_no_import_circles() -> None:
    """No module imports itself through others."""
    names = {".".join(("gclrec", *path.relative_to(ROOT).with_suffix("").parts)): path for path in FILES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    del names["gclrec"]  # it names what it loads when asked; others import its version alone
    left = {name: modules_imported(path) & set(names) - {name} for name, path in names.items()}
    while True:  # remove modules that import none of those left, and modules that none of those left imports
        used = set().union(*left.values())
        circles = {name: needed & set(left) for name, needed in left.items() if needed and name in used}
        if circles == left:
            break
        left = circles
    assert not left, f"circles: {left}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_flag_is_named_below_the_settings(path: Path) -> None:
    """Components name their arguments; settings and commands translate them to flags."""
    here = path.relative_to(ROOT)
    below = room(here.parts) not in TOP and FLOORS[room(here.parts)] < FLOORS["settings"]
    if not below and room(here.parts) != "recall":
        pytest.skip("may name flags")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not (isinstance(node, ast.ImportFrom) and "flag" in {each.name for each in node.names})
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            assert not re.search(r"(?<![\w-])--[a-z]", node.value), f"{here}:{node.lineno}"


def test_only_commands_print_or_exit() -> None:
    for path in FILES:
        if path.relative_to(ROOT).parts[0] in ("cli", "train.py", "__main__.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"print", "exit", "input", "eval", "exec"}, path
            if isinstance(node, ast.Attribute):
                assert node.attr != "exit", path


def test_import_is_cheap() -> None:
    """Importing the package loads neither torch nor anything that is slow to import."""
    import subprocess
    import sys

    slow = "{'torch', 'polars', 'faiss', 'torch_geometric', 'matplotlib'}"
    code = f"import sys, gclrec; print(sorted({slow} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("package", ["gclrec", *(f"gclrec.{name}" for name in ROOMS)])
def test_listed_names_exist(package: str) -> None:
    """Every name that a package lists can be had, and is listed by ``dir``."""
    module = importlib.import_module(package)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'nothing'"):
        module.nothing  # noqa: B018


FACADES = {"api.py", "studies.py", "train.py", "__main__.py", "__init__.py"}
"""They repeat the names of what they call."""


def public_names(path: Path) -> set[str]:
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if not name.startswith("_")}


def test_no_name_means_two_things() -> None:
    """No file name and no public name stands for two things, commands and ``base`` aside."""
    rooms = [path for path in FILES if path.relative_to(ROOT).parts[0] not in {"cli", *FACADES}]
    stems: dict[str, set[Path]] = {}
    names: dict[str, set[Path]] = {}
    for path in rooms:
        if path.stem not in ("__init__", "base"):
            stems.setdefault(path.stem, set()).add(path)
        for name in public_names(path):
            names.setdefault(name, set()).add(path)
    assert {stem: paths for stem, paths in stems.items() if len(paths) > 1} == {}
    assert {name: paths for name, paths in names.items() if len(paths) > 1} == {}
