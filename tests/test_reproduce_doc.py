"""docs/how-to/reproduce.md: its first command repeats a run bit by bit. Its flags exist, and serving.md's."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path

import pytest

from gclrec.__main__ import main
from gclrec.cli.add_items import add_items
from gclrec.cli.compare import compare
from gclrec.cli.doctor import doctor
from gclrec.cli.export import export
from gclrec.cli.recommend import recommend
from gclrec.cli.similar import similar
from gclrec.cli.train import train
from gclrec.common.shell import flag
from gclrec.settings.config import TrainConfig

HOW_TO = Path(__file__).resolve().parent.parent / "docs" / "how-to"


def test_a_run_is_repeated_from_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (HOW_TO / "reproduce.md").read_text(encoding="utf-8")
    (again, *_) = re.findall(r"```bash\n(.*?)\n```", text, flags=re.DOTALL)
    main(shlex.split("train --dataset synthetic-120x90x1500 --steps 6 --run runs/first"))
    words = shlex.split(again)
    assert words[0] == "gclrec"
    main(words[1:])
    for file in (
        "embeddings/items.parquet",
        "embeddings/users.parquet",
        "split/train.parquet",
        "config.toml",
    ):
        first, second = (tmp_path / "runs" / name / file for name in ("first", "again"))
        assert first.read_bytes() == second.read_bytes(), file


@pytest.mark.parametrize("page", ["reproduce.md", "serving.md"])
def test_its_flags_exist(page: str) -> None:
    known = {flag(name) for name in TrainConfig.__dataclass_fields__} | {"--config"}
    for command in (train, add_items, compare, doctor, export, recommend, similar):
        known |= {flag(name) for name in inspect.signature(command).parameters}
    known |= {"--no-exclude-seen", "--no-measure", "--preload"}  # the last one is gunicorn's
    text = (HOW_TO / page).read_text(encoding="utf-8")
    assert set(re.findall(r"(?<![\w#-])--[a-z][a-z-]+", text)) <= known
