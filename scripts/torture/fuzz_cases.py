"""What ``fuzz.py`` reads: a case, the readers, and what spoils bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Random = np.random.Generator
Read = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """A file or folder, what was done to it, and the reader that it is given to."""

    kind: str
    what: str
    path: Path
    read: Read


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files of a folder."""
    return sum(
        each.stat().st_size for each in ([path] if path.is_file() else path.rglob("*")) if each.is_file()
    )


def read_pairs(path: Path) -> object:
    """Read interactions as training does."""
    from gclrec.data.io.readers import read_dataset

    return read_dataset(path)


def read_table(path: Path) -> object:
    """Read attributes and encode them, as training does."""
    from gclrec.data.io.attributes import read_attributes
    from gclrec.data.schema import Schema

    table = read_attributes(path)
    return Schema.fit(table, min_count=1).encode(table)


def read_id_file(path: Path) -> object:
    """Read candidates."""
    from gclrec.data.io.readers import read_ids

    return read_ids(path)


def read_settings(path: Path) -> object:
    """Read the settings of one run."""
    from gclrec.settings.sources import layered_config

    return layered_config({}, config=path)


def read_study(path: Path) -> object:
    """Read the variants of a comparison."""
    from gclrec.common.errors import InputError

    return _command(
        InputError, "compare", "--config", str(path), "--dataset", str(path.with_name("none.csv"))
    )


def read_run(path: Path) -> object:
    """Load a run, answer, evaluate, go on with its training and write its page."""
    import gclrec
    from gclrec.api import resume
    from gclrec.common.errors import InputError
    from gclrec.report.run_report import write_run_page
    from gclrec.runs.folder import RunFolder

    refused: list[InputError] = []
    for step in (
        lambda: gclrec.load_recommender(path).recommend_many([1, 2], 3),
        lambda: gclrec.load_recommender(path).recommend_for([1, 2, 3], 3),
        lambda: gclrec.load_recommender(path).similar_items(1, 3),
        lambda: gclrec.load_run(path).evaluate(),
        lambda: repr(gclrec.load_run(path)),
        lambda: gclrec.load_run(path).history,
        lambda: write_run_page(RunFolder.open(path)),
        lambda: resume(path),
    ):
        try:
            step()
        except InputError as error:
            if "\n" in str(error):
                raise
            refused.append(error)
    if refused:
        raise refused[0]
    return None


def _command(error: type[Exception], *arguments: str) -> None:
    """Run a command; its one line of error is raised as an exception."""
    from gclrec.__main__ import main

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            main(list(arguments))
    except SystemExit as stop:
        lines = [line for line in said.getvalue().splitlines() if not line.startswith("note: ")]
        if stop.code != 2 or len(lines) != 1:
            raise RuntimeError(f"exit code {stop.code}: {lines}") from None
        raise error(lines[0]) from None


def binary(write: Callable[[io.BytesIO], object]) -> bytes:
    """Return what a function writes."""
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


_WORDS = (
    *(b"", b'"', b"'", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b"\n\n", b"\t", b",", b";", b"|"),
    *(b"-1", b"0", b"0.0.0", b"1e300", b"-1e308", b"nan", b"inf", b"-inf", b"NULL", b"18446744073709551615"),
    *(b"9" * 40, b"9" * 5000, b"1e-400", b"0x10", b"+7", b"07", b"1_000", b"true", b"2024-13-45"),
    *(
        b"[",
        b"]",
        b"[1, 2",
        b"[[1]]",
        b"{",
        b"}",
        b"::",
        b"[bold]",
        b"\x1b[31m",
        b"%s%n",
        b"../..",
        b"a" * 3000,
    ),
    *(
        b"\xc3",
        b"\xed\xa0\x80",
        "\u2028".encode(),
        "\u202e".encode(),
        "é".encode(),
        b"user_id",
        b"item_id",
        b"=",
    ),
)
"""What is put between two separators."""


def spoiled(data: bytes, random: Random, times: int | None = None) -> bytes:
    """Return bytes with some of them changed, cut out, put in twice or replaced."""
    for _ in range(times or int(random.integers(1, 6))):
        at = int(random.integers(len(data) + 1))
        length = int(random.integers(1, max(2, min(200, len(data)))))
        how = random.integers(8)
        if how == 0 and data:
            at = min(at, len(data) - 1)
            data = data[:at] + bytes([data[at] ^ (1 << int(random.integers(8)))]) + data[at + 1 :]
        elif how == 1:
            data = data[:at]
        elif how == 2:
            data = data[:at] + data[at + length :]
        elif how == 3:
            data = data[:at] + data[at : at + length] * int(random.integers(2, 5)) + data[at + length :]
        elif how == 4:
            data = data[:at] + random.bytes(length) + data[at + length :]
        elif how == 5:
            edge = (0, 1, 127, 255, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1)[random.integers(8)]
            width = 8 if edge >= 2**32 else 4
            data = data[:at] + edge.to_bytes(width, "little") + data[at + width :]
        else:
            data = _other_field(data, random)
    return data


def _other_field(data: bytes, random: Random) -> bytes:
    """Replace what stands between two separators."""
    ends = [at for at, byte in enumerate(data) if byte in b',;\t \n=":[]']
    word = _WORDS[random.integers(len(_WORDS))]
    if len(ends) < 2:
        return data + word
    at = int(random.integers(len(ends) - 1))
    return data[: ends[at] + 1] + word + data[ends[at + 1] :]
