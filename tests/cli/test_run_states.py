"""Messages for a run folder that is not complete: what is wrong, and the command that completes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gclrec import Index, load_run

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


@pytest.mark.parametrize("part", ["train", "test"])
def test_export_needs_the_split_that_service_needs(
    train: Run, gclrec: Run, tmp_path: Path, part: str
) -> None:
    run = tmp_path / "run"
    assert train("--aug", "none").code == 0
    path = run / "split" / f"{part}.parquet"
    path.unlink()
    assert gclrec("export", run).error == f"error: {path}: missing from the run folder"
    assert not (run / "index").exists()


def test_what_cannot_be_written_is_named_as_it_was_given(
    train: Run, gclrec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, out = tmp_path / "run", tmp_path / "recs.parquet"
    assert train("--aug", "none").code == 0

    def denied(path: object, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.mkdir", denied)  # as in a folder that others own
    recommend = ("recommend", run, "--all", "--out", out)
    assert gclrec(*recommend).error == f"error: {out}: Permission denied"
    assert gclrec("export", run, "--backend", "exact").error == f"error: {run / 'index'}: Permission denied"
    other = tmp_path / "other"
    made = gclrec("train", "--dataset", "synthetic-60x80x700", "--run", other, "--epochs", 1)
    assert made.error == f"error: {other}: Permission denied"


def test_paths_of_flags_begin_at_home(train: Run, gclrec: Run, tmp_path: Path, monkeypatch) -> None:
    """``--out=~/x`` reaches the command as it is: shells expand ``~`` at the beginning of a word alone."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert train().code == 0
    assert gclrec("recommend", "~/run", "--all", "--out=~/lists.csv", "-k", 3).code == 0
    assert (tmp_path / "lists.csv").is_file()
    (tmp_path / "own.toml").write_text("dim = 4\nepochs = 1\n")
    data = load_run(tmp_path / "run").config.dataset
    assert gclrec("train", data, "--config=~/own.toml", "--run=~/second").code == 0
    assert gclrec("train", "--resume=~/second").code == 0
    run = load_run("~/second")
    assert run.config.dim == 4
    run.export(backend="exact").save("~/index")
    assert len(Index.load("~/index")) == len(run.split.train.items)
    assert not Path("~").exists()
