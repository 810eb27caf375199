"""Read seeded mutations of every kind of file that gclrec reads, and count how the readers end.

A reader ends well if it returns, or raises :class:`~gclrec.common.errors.InputError` with one line. Counted
against it are any other exception, a dead process, more than ``SECONDS``, and memory beyond ``SPARE`` and
three times the file.

The inputs are read in a process of its own, which is started again if it dies or hangs::

    python scripts/torture/fuzz.py --count 10000 --seed 0

Input ``n`` of a seed is always the same; ``--only N`` reads one again and shows its traceback.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import resource
import selectors
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz_cases
import fuzz_hurt
import fuzz_inputs

SECONDS = 30
SPARE = 200
"""MB that a reader may take beyond three times the file."""

CAP = 10 << 30
"""Address space of the reading process, so that a bad case does not take the machine down."""


def ends(number: int, seed: int, folder: Path) -> dict[str, Any]:
    """Read one input and return how that ended."""
    case = fuzz_inputs.make(number, seed, folder)
    size = fuzz_cases.size_of(case.path)
    started = time.monotonic()
    before = _restart_peak()
    ended, text = "read", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.read(case.path)
    except Exception as error:
        from gclrec.common.errors import InputError

        ended = "refused" if isinstance(error, InputError) else "traceback"
        text = f"{type(error).__name__}: {error}"
        if ended == "refused" and ("\n" in str(error) or not str(error)):
            ended = "not one line"
        if ended == "traceback":
            text = f"{text.splitlines()[0]} at {_place(error)}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        ended, text = "traceback", f"{type(error).__name__}: {error} at {_place(error)}"
    peak = _peak() - before
    allowed = SPARE + 3 * size / 2**20
    if ended in ("read", "refused") and peak > allowed:
        ended, text = "memory", f"{peak:.0f} MB, allowed {allowed:.0f}; {text}"
    values = {"number": number, "kind": case.kind, "what": case.what, "end": ended, "text": text[:300]}
    return values | {"mb": round(peak, 1), "seconds": round(time.monotonic() - started, 3)}


def _place(error: BaseException) -> str:
    """Return the last line of gclrec in a traceback."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}gclrec{os.sep}" in frame.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def _restart_peak() -> float:
    """Let the kernel count the peak memory of this process anew, and return what it has now, in MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> float:
    return _status("VmHWM")


def _status(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def work(first: int, stop: int, seed: int) -> None:
    """Read inputs one after the other and print how each ended."""
    resource.setrlimit(resource.RLIMIT_AS, (CAP, CAP))
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, stop):
            print(json.dumps({"begin": number}), flush=True)
            print(json.dumps(ends(number, seed, Path(folder))), flush=True)


def run(count: int, seed: int, *, first: int = 0) -> Iterator[dict[str, Any]]:
    """Yield how each of ``count`` inputs ended; the reading process is started again where it dies."""
    stop, number = first + count, first
    while number < stop:
        with tempfile.TemporaryFile() as noise:
            command = [sys.executable, __file__, "--work", str(number), str(stop), "--seed", str(seed)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=noise, text=True) as process:
                assert process.stdout is not None
                begun = None
                for line in _lines(process):
                    if line is None:
                        process.kill()
                        yield {"number": begun, "end": "hang", "kind": "", "what": "", "text": f"{SECONDS} s"}
                        begun = None
                        number += 1
                        break
                    values = json.loads(line)
                    if "begin" in values:
                        begun = values["begin"]
                        continue
                    begun, number = None, values["number"] + 1
                    yield values
            if begun is not None:
                noise.seek(0)
                last = noise.read().decode(errors="replace").strip().splitlines()[-1:]
                text = f"exit code {process.returncode} {' '.join(last)}"
                yield {"number": begun, "end": "death", "kind": "", "what": "", "text": text}
                number = begun + 1


def _lines(process: subprocess.Popen[str]) -> Iterator[str | None]:
    """Yield the lines of a process, and ``None`` where none comes for too long."""
    assert process.stdout is not None
    with selectors.DefaultSelector() as waiting:
        waiting.register(process.stdout, selectors.EVENT_READ)
        while True:
            if not waiting.select(SECONDS + 30 if process.poll() is None else 0):
                yield None
                return
            line = process.stdout.readline()
            if not line:
                return
            yield line


def main() -> int:
    """Read the inputs, print each that ended badly and the counts; the exit code is 1 if one did."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first",
        type=int,
        default=-len(fuzz_hurt.HOSTILE),
        help="number of the first input; those below 0 are made to hurt",
    )
    parser.add_argument("--only", type=int, help="number of one input, read in this process")
    parser.add_argument("--verbose", action="store_true", help="print each input")
    parser.add_argument("--work", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(*given.work, given.seed)
        return 0
    if given.only is not None:
        with tempfile.TemporaryDirectory() as folder:
            case = fuzz_inputs.make(given.only, given.seed, Path(folder))
            print(case.kind, case.what)
            print(case.read(case.path))
        return 0
    counts: collections.Counter[str] = collections.Counter()
    most = 0.0
    for values in run(given.count - min(0, given.first), given.seed, first=given.first):
        counts[values["end"]] += 1
        most = max(most, values.get("mb", 0.0))
        if given.verbose or values["end"] not in ("read", "refused"):
            print(json.dumps(values), flush=True)
    print(json.dumps({**counts, "inputs": sum(counts.values()), "most_mb": most}))
    return 0 if set(counts) <= {"read", "refused"} else 1


if __name__ == "__main__":
    sys.exit(main())
