"""README.md: its Python runs unchanged, its commands and flags exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from gclrec.__main__ import app

README = Path(__file__).parent.parent / "README.md"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_pyg_example_runs() -> None:
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["user"].num_nodes, data["item"].num_nodes = 4, 3
    data["user", "rates", "item"].edge_index = torch.tensor([[0, 0, 1, 2, 3], [0, 1, 1, 2, 0]])
    (code,) = [
        text
        for language, text in BLOCKS
        if language == "python" and "HeteroData" not in text and "LightGCN" in text
    ]
    names: dict[str, object] = {"data": data}
    exec(code, names)
    loss = names["loss"]
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    assert torch.isfinite(loss)


def test_the_lines_of_python_train(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [text for language, text in BLOCKS if language == "python" and "gclrec.fit" in text]
    assert len([line for line in code.splitlines() if line]) <= 5
    exec(code, {})
    told = capsys.readouterr().out
    assert "tail items" in told
    assert told.count("Recommendation(") == 10


@pytest.mark.parametrize(
    "line",
    [
        line
        for kind, text in BLOCKS
        if kind == "bash"
        for line in text.splitlines()
        if line.startswith("gclrec ")
    ],
)
def test_commands_and_flags_exist(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each command's --help knows every flag that README gives it."""
    words = line.split("#")[0].split()
    command = words[1:3] if words[1] == "data" else words[1:2]
    app([*command, "--help"])
    known = capsys.readouterr().out
    for word in words:
        if word.startswith("-"):
            assert re.search(rf"(^|\s){word}(\s|$)", known), word
