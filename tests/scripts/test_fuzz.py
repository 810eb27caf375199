"""The fuzzer of readers in a small form; the full one is told of in docs/studies/reliability.md."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parents[2] / "scripts" / "torture"


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(TORTURE))
    import fuzz

    return fuzz


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_readers_end_in_an_answer_or_one_line(fuzz) -> None:
    """48 spoiled files and run folders, and those that ask for much memory or time."""
    import fuzz_hurt

    hurt = len(fuzz_hurt.HOSTILE)
    ended = list(fuzz.run(48 + hurt, seed=7, first=-hurt))
    assert [values["number"] for values in ended] == list(range(-hurt, 48))
    assert [values for values in ended if values["end"] not in ("read", "refused")] == []
    assert {values["end"] for values in ended} == {"read", "refused"}


def test_the_fuzzer_sees_what_ends_badly(fuzz, tmp_path: Path, monkeypatch) -> None:
    import fuzz_cases
    import fuzz_inputs

    def reader(what: str):
        def read(path: Path) -> object:
            if what == "traceback":
                raise KeyError("column")
            if what == "not one line":
                from gclrec import InputError

                raise InputError("a.csv: bad\nvery bad")
            pages = mmap.mmap(-1, (fuzz.SPARE + 50) << 20)  # fresh pages: freed memory may be kept for reuse
            pages[:: mmap.PAGESIZE] = b"x" * (len(pages) // mmap.PAGESIZE)
            return pages

        return read

    file = tmp_path / "a.csv"
    file.write_text("user,item\n")
    for what in ("traceback", "not one line", "memory"):
        case = fuzz_cases.Case("pairs", "", file, reader(what))
        monkeypatch.setattr(fuzz_inputs, "make", lambda *_, case=case: case)
        assert fuzz.ends(0, 0, tmp_path)["end"] == what
