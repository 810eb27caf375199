"""docs/tutorials: every block of code runs, in order, and prints what the page says."""

from __future__ import annotations

import doctest
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests

from gclrec.__main__ import main

PAGES = sorted((Path(__file__).resolve().parent.parent / "docs" / "tutorials").glob("*.md"))
PORT = "8000"


@contextmanager
def serving(words: list[str], port: str) -> Iterator[None]:
    """Run ``gclrec serve`` beside the page until the page ends."""
    process = subprocess.Popen([sys.executable, "-m", *words], stdout=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=1).ok:
                    break
            except requests.ConnectionError:
                time.sleep(0.1)
            assert process.poll() is None
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    text = page.read_text(encoding="utf-8").replace(PORT, port)
    blocks = re.findall(r"^```(python|bash)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 4
    names: dict[str, object] = {}
    checked = 0
    with ExitStack() as stack, warnings.catch_warnings():
        for language, block in blocks:
            if language == "python":
                example = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
                runner = doctest.DocTestRunner(verbose=False)
                told: list[str] = []
                runner.run(example, out=told.append, clear_globs=False)
                assert not runner.failures, "".join(told)
                names = example.globs
                checked += sum(bool(each.want) for each in example.examples)
                continue
            for line in block.splitlines():
                words = shlex.split(line)
                assert words[0] == "gclrec"
                if words[-1] == "&":
                    stack.enter_context(serving(words[:-1], port))
                else:
                    main(words[1:])
    assert checked >= 4  # a page shows results, and they are compared
