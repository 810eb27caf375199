"""Ids and paths are printed as they are, safely, and printed commands run as printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.cli import console
from gclrec.cli.console import output, with_flags
from gclrec.common.shell import command_line, printable

from .conftest import QUICK, Outcome

Run = Callable[..., Outcome]
USERS = ["AC[/DC]", "list[int]", "[red]x", "-X", "é\u202eb", "\x1b[31mr", ":smile:", "it's"]


def words(command: str) -> list[str]:
    """The words of a command, as bash splits them."""
    in_utf8 = {**os.environ, "LC_ALL": "C.UTF-8"}
    found = subprocess.check_output(["bash", "-c", f"printf '%s\\0' {command}"], env=in_utf8)
    return found.decode().split("\0")[:-1]


@pytest.fixture
def odd(gclrec: Run, tmp_path: Path) -> Path:
    """A run in a folder with markup and a space, whose ids are markup, controls and hyphens; 4 items."""
    rng = np.random.default_rng(0)
    pairs = [(user, f"[b]{item}[/b]") for user in USERS for item in rng.choice(5, 3, replace=False)]
    pl.DataFrame(pairs, schema=["user", "item"], orient="row").write_parquet(tmp_path / "t[1].parquet")
    run = tmp_path / "my r[red]un"
    outcome = gclrec("train", tmp_path / "t[1].parquet", "--run", run, *QUICK)
    assert outcome.code == 0, outcome.err
    assert "t[1].parquet" in outcome.out
    assert "\x1b" not in outcome.out + outcome.err
    for command in outcome.out.split("next: ")[1].splitlines()[0].split("    then: "):
        asked = gclrec(*words(command)[1:])
        assert asked.code == 0, (command, asked.err)
    return run


def test_arguments_in_messages_are_printed_as_flags() -> None:
    said = "a.csv: name with `user_column` and `item_column`; give `quote=none`, or\n  `skip_known=True`"
    flags = "a.csv: name with --user-column and --item-column; give --quote none, or --skip-known"
    assert with_flags(said) == flags
    for text in ("unknown user '`quote`'", "/a/`x`/b  c.csv: no such file", "`a b`", "x=`y`"):
        assert with_flags(text) == text


def test_ids_are_shown_as_they_are(gclrec: Run, odd: Path, tmp_path: Path) -> None:
    for user in USERS:
        outcome = gclrec("recommend", odd, f"--user={user}", "-k", 2)
        assert outcome.code == 0, outcome.err
        assert f"user {printable(user)}" in outcome.out
        assert "\x1b" not in outcome.out
        assert "[b]" in outcome.out
        found = gclrec("recommend", odd, f"--user={user}", "-k", 2, "--json").values
        assert found["user"] == user
    similar = gclrec("similar", odd, "--item", "[b]1[/b]", "-k", 2)
    assert "items like [b]1[/b]" in similar.out
    out = tmp_path / "a[1].csv"
    written = gclrec("recommend", odd, "--all", "-k", 2, "--out", out)
    assert "a[1].csv" in written.out
    assert len(pl.read_csv(out, glob=False)) > 0
    error = gclrec("recommend", odd, "--user", "\x1b[2J[/x]").error
    assert "\\x1b[2J[/x]" in error
    assert "\x1b" not in error


def test_added_items_are_named_in_a_command_that_runs(gclrec: Run, odd: Path, tmp_path: Path) -> None:
    pl.DataFrame({"user": ["-X"], "item": ["--new thing"]}).write_csv(tmp_path / "new.csv")
    outcome = gclrec("add-items", odd, tmp_path / "new.csv")
    command = outcome.out.split("next: ")[1].splitlines()[0]
    assert gclrec(*words(command)[1:]).code == 0


@pytest.mark.parametrize("arguments", [["--user=é\u202eb"], ["--user=é\u202eb", "--json"], ["--user", "☃"]])
def test_a_stdout_without_unicode(odd: Path, arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "gclrec", "recommend", odd, "-k", "2", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )
    assert b"Traceback" not in ran.stderr
    assert ran.returncode == (2 if "☃" in arguments else 0)
    if "--json" in arguments:
        assert json.loads(ran.stdout.decode("ascii").splitlines()[-1])["user"] == "é\u202eb"


@pytest.mark.parametrize("value", ["2.5", "2.0", "1e1", "1."])
def test_whole_numbers_are_not_rounded(gclrec: Run, tmp_path: Path, value: str) -> None:
    settings = tmp_path / "settings.toml"
    settings.write_text(f"epochs = {value.rstrip('.')}.0\n" if value == "1." else f"epochs = {value}\n")
    for arguments in (
        ("recommend", "run", "--user", "a", "-k", value),
        ("similar", "run", "--item", "a", "-k", value),
        ("train", "--epochs", value),
        ("train", "--k-core", value),
        ("train", "--ks", "10", value),
        ("export", "run", "--seed", value),
        ("tune", "--trials", value),
    ):
        assert "expected a whole number" in gclrec(*arguments).error
    assert "expected a whole number" in gclrec("train", "--config", settings).error


def test_a_panic_of_polars_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = console.command("panic")

    @app.default
    def panic() -> None:
        raise type("PanicException", (BaseException,), {})("index out of\nbounds")

    with pytest.raises(SystemExit) as stopped:
        console.main_of(app)([])
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert said == "error: Polars failed on this input (index out of bounds); please report it\n"


def test_commands_and_text_for_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line("gclrec", "export", "a b", user="-X", k=3) == "gclrec export 'a b' --user=-X -k 3"
    odd = "\x1b[1m'\\"
    quoted = command_line(odd)
    assert "\x1b" not in quoted
    assert subprocess.check_output(["bash", "-c", f"printf %s {quoted}"]).decode() == odd
    output().print("a\x1b[31m[bold]b[/bold]\x9b :smile:")
    assert capsys.readouterr().out == "a\\x1b[31m[bold]b[/bold]\\x9b :smile:\n"
