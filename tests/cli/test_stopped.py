"""What ends a training early says so in one line, and the run can go on: signals, memory, a full disk."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from gclrec.api import load_run
from gclrec.common.errors import UnfinishedError
from gclrec.runs.folder import RunFolder
from gclrec.training.trainer import Trainer

from .conftest import QUICK, Run


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize(
    ("number", "code", "said"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")]
)
def test_a_signal_twice(clicks: Path, tmp_path: Path, number: str, code: int, said: str) -> None:
    run = tmp_path / "run"
    flags = ["--loss", "bpr", "--epochs", "9999", "--dim", "4", "--batch-size", "64", "--run", str(run)]
    command = [sys.executable, "-m", "gclrec", "train", str(clicks), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not RunFolder(run).last_checkpoint.exists():
        time.sleep(0.01)
    for _ in range(3):
        process.send_signal(getattr(signal, number))
    _, error = process.communicate()
    assert process.returncode == code
    assert [line for line in error.splitlines() if not line.startswith("note:")] == [said]
    assert [path.name for path in run.rglob("*.partial")] == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
@pytest.mark.parametrize(("number", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("module", ["gclrec.__main__", "gclrec.train"])
def test_a_signal_during_the_imports(number: str, code: int, module: str) -> None:
    """It comes with the first heavy module: nothing was begun, so the process ends at once in one line."""
    lines = [
        "import os, runpy, signal, sys",
        "class Sender:",
        "    def find_spec(self, name, *rest):",
        f"        if name == 'cyclopts': os.kill(os.getpid(), signal.{number})",
        "sys.meta_path.insert(0, Sender())",
        f"runpy.run_module({module!r}, run_name='__main__')",
    ]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    said = "interrupted" if number == "SIGINT" else "terminated"
    assert (ended.returncode, ended.stderr) == (code, f"{said}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit, or do not heed it")
@pytest.mark.parametrize("module", ["gclrec", "gclrec.train"])
def test_a_limit_below_what_libraries_take(module: str) -> None:
    """They end the process without a word where they cannot allocate while they are imported."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))

    ended = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, preexec_fn=limit
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert re.fullmatch(
        r"error: memory is limited to 1,024 MB \(ulimit -v\), expected [\d,]+ MB or more\n", ended.stderr
    )


def test_a_module_that_finds_no_memory() -> None:
    """The error of the import system comes from that of the loader."""
    lines = [
        "import sys",
        "from gclrec.cli.signals import starting",
        "with starting():",
        "    try: raise ImportError('x.so: failed to map segment from shared object')",
        "    except ImportError as error: raise ImportError('no module x') from error",
    ]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (2, "error: there is not enough memory to start\n")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_a_second_signal_while_the_interpreter_ends() -> None:
    """Python takes back handlers that are functions before it is gone."""
    lines = [
        "import os, signal, sys",
        "from gclrec.cli.signals import signals_raise",
        "try:",
        "    with signals_raise(to_the_end=True): os.kill(os.getpid(), signal.SIGTERM)",
        "except KeyboardInterrupt: pass",
        "assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGINT) == signal.SIG_IGN",
        "os.kill(os.getpid(), signal.SIGTERM)",
    ]
    ended = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), "not enough memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            "not enough memory",
        ),
        (OSError(28, "No space left on device", "somewhere"), "somewhere: No space left on device"),
    ],
    ids=["memory", "torch", "disk"],
)
def test_what_runs_out(
    train: Run, gclrec: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    whole = train().values
    run_epoch = Trainer.run_epoch

    def second_fails(self: Trainer, epoch: int, *rest: object) -> object:
        if epoch == 2:
            raise error
        return run_epoch(self, epoch, *rest)

    shutil.rmtree(tmp_path / "run")
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", second_fails)
        outcome = train()
    assert outcome.code == 2
    assert said in outcome.err.splitlines()[-1]
    assert f"gclrec train --resume {run}" in outcome.err
    resumed = gclrec("train", "--resume", run, "--json").values
    assert resumed["metrics"] == whole["metrics"]


def test_other_errors_are_not_called_a_lack_of_memory(train: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(Trainer, "run_epoch", broken)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        train()


def test_changed_figures_are_refused(train: Run, gclrec: Run, tmp_path: Path) -> None:
    assert train().code == 0
    path = tmp_path / "run" / "metrics.jsonl"
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 7', 1))
    assert (
        f"{path}: damaged or altered, its first 2 lines"
        in gclrec("train", "--resume", tmp_path / "run").error
    )


def test_refit_where_no_negative_is_left(gclrec: Run, tmp_path: Path) -> None:
    """Training and validation pairs together are all pairs: the selected model is kept, also on resume."""
    table, run = tmp_path / "all.csv", tmp_path / "run"
    pairs = [(user, item) for user in range(12) for item in range(10)]
    pl.DataFrame(pairs, schema=["user", "item"], orient="row").write_csv(table)
    flags = ("--test-share", 0, "--refit", *QUICK)
    outcome = gclrec("train", table, *flags, "--run", run)
    assert outcome.code == 0, outcome.err
    assert "note: refit: skipped, with the validation pairs there is nothing to train on" in outcome.err
    assert gclrec("recommend", run, "--user", 3, "-k", 2, "--no-exclude-seen").code == 0
    resumed = gclrec("train", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert "refit: skipped" in resumed.err

    pl.DataFrame([*pairs[10:], (0, 1)], schema=["user", "item"], orient="row").write_csv(table)
    some = gclrec("train", table, "--test-share", 0, "--valid-share", 0, *QUICK, "--run", tmp_path / "c")
    assert "note: 11 users have every item of training" in some.err
    pl.DataFrame(pairs, schema=["user", "item"], orient="row").write_csv(table)
    without = gclrec("train", table, "--test-share", 0, "--valid-share", 0, *QUICK, "--run", tmp_path / "b")
    assert "nothing to train on" in without.error
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("killed_at", ["write_embeddings", "RunFolder.write_result"])
def test_killed_between_what_must_fit_together(
    train: Run, gclrec: Run, tmp_path: Path, killed_at: str
) -> None:
    """A finished run is trained on, and killed after it replaced ``fold_in/``, or ``embeddings/`` too."""
    run = tmp_path / "run"
    assert train("--loss", "bpr").code == 0
    user = str(pl.read_parquet(run / "split" / "users.parquet")["id"][0])
    item = str(pl.read_parquet(run / "split" / "items.parquet")["id"][0])
    asked = {"known": ("--user", user), "new": ("--items", item)}
    former = {name: gclrec("recommend", run, *how, "-k", 3, "--json").values for name, how in asked.items()}

    code = f"""
import os
from gclrec.training import recorder
recorder.{killed_at} = lambda *_, **__: os.kill(os.getpid(), 9)
from gclrec.__main__ import main
main(["train", "--resume", {str(run)!r}, "--epochs", "4"])
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == -9
    again = f"resume its training: gclrec train --resume {run}"
    with pytest.raises(UnfinishedError, match="its training did not finish"):
        _ = load_run(run).values
    known = gclrec("recommend", run, *asked["known"], "-k", 3, "--json").values
    new = gclrec("recommend", run, *asked["new"], "-k", 3, "--json")
    if killed_at == "write_embeddings":
        assert known == former["known"]
        assert "fold_in: goes with other vectors" in new.error
        assert again in new.error
    else:
        assert known != former["known"]
        assert new.values != former["new"]

    resumed = gclrec("train", "--resume", run, "--json").values
    shutil.rmtree(run)
    assert train("--loss", "bpr").code == 0
    whole = gclrec("train", "--resume", run, "--epochs", 4, "--json").values
    assert resumed["metrics"] == whole["metrics"]
    assert [path.name for path in run.rglob("*.partial")] == []
