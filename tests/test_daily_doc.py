"""The script of docs/how-to/daily.md makes a run that starts from yesterday's and moves the link to it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import polars as pl

import gclrec

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "daily.md").read_text(encoding="utf-8")


def test_a_night(clicks: Path, tmp_path: Path) -> None:
    found = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    script = found[1].replace("/srv/gclrec", str(tmp_path)).replace("date +%u", "echo 3")
    table = pl.read_csv(clicks)
    table.write_parquet(tmp_path / "interactions.parquet")
    yesterday = tmp_path / "runs" / "yesterday"
    gclrec.fit(table.head(700), folder=yesterday, epochs=11, dim=8, batch_size=256, test_share=0.0)
    (tmp_path / "runs" / "current").symlink_to("yesterday")
    command = tmp_path / "gclrec"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m gclrec "$@"\n')
    command.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    today = (tmp_path / "runs" / "current").resolve()
    assert today.name != "yesterday"
    run = gclrec.load_run(today)
    assert (run.config.start_from, run.config.epochs) == (str(yesterday), 2)
    assert gclrec.load_recommender(tmp_path / "runs" / "current").recommend("user-59", 3)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted(
        ["current", "yesterday", today.name]
    )
