"""What commands say of a run that is not whole: what is wrong, and the command that mends it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .conftest import Run

SERVING = (("export",), ("recommend", "--user", "user-3"), ("similar", "--item", 4), ("evaluate",))


@pytest.mark.parametrize("command", SERVING, ids=lambda command: command[0])
def test_an_interrupted_run_is_to_be_resumed(
    train: Run, gclrec: Run, tmp_path: Path, command: tuple[object, ...]
) -> None:
    run = tmp_path / "run"
    assert train("--aug", "none").code == 0
    for name in ("embeddings", "fold_in"):
        shutil.rmtree(run / name)
    (run / "result.json").unlink()
    error = gclrec(command[0], run, *command[1:]).error
    assert "training did not finish" in error
    assert f"gclrec train --resume {run}" in error


def test_missing_embeddings_of_a_finished_run_are_written_anew(
    train: Run, gclrec: Run, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train("--aug", "none").code == 0
    before = gclrec("recommend", run, "--user", "user-3", "--json").values
    shutil.rmtree(run / "embeddings")
    error = gclrec("recommend", run, "--user", "user-3").error
    assert "ranks without vectors" not in error
    assert f"{run / 'embeddings'}: missing from a finished run" in error
    assert gclrec(*error.partition("gclrec ")[2].split()).code == 0  # what it says to type
    assert gclrec("recommend", run, "--user", "user-3", "--json").values == before
