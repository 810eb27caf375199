"""One holder at a time, in threads and processes; who holds a lock is said."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gclrec.common.atomic import discard
from gclrec.common.errors import InputError
from gclrec.common.locks import LOCK, holding

pytest.importorskip("fcntl")


def test_a_second_holder_is_refused_in_one_line(tmp_path: Path) -> None:
    refused = pytest.raises(InputError)
    with holding(tmp_path, "training"), refused as caught, holding(tmp_path, "exporting"):
        pass
    said = f"another process is training here (process {os.getpid()} on "
    assert str(caught.value).startswith(f"{tmp_path}: {said}")
    with holding(tmp_path, "exporting"):
        assert (tmp_path / LOCK).read_text().startswith("exporting here")


def test_threads_wait_for_each_other(tmp_path: Path) -> None:
    inside, most = [], []

    def work() -> None:
        with holding(tmp_path, "adding items", wait=60):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.005)
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 6


def test_a_killed_holder_holds_no_longer(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from gclrec.common.locks import holding\n"
        "with holding(Path(sys.argv[1]), 'training'): print('held', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(InputError, match=f"process {process.pid} "), holding(tmp_path, "exporting"):
        pass
    process.kill()
    process.wait()
    process.stdout.close()
    with holding(tmp_path, "exporting"):
        pass


def test_the_lock_moves_with_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with holding(tmp_path / "a", "training"):
        (tmp_path / "a").rename(tmp_path / "b")
        with pytest.raises(InputError, match="training"), holding(tmp_path / "b", "exporting"):
            pass
    with pytest.raises(InputError, match="no such folder"), holding(tmp_path / "a", "exporting"):
        pass


def test_waiting_for_a_folder_that_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    said = []

    def wait() -> None:
        try:
            with holding(folder, "exporting", wait=60):
                said.append("held")
        except InputError as error:
            said.append(str(error))

    with holding(folder, "training"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        discard(folder)
    waiting.join()
    assert said == [f"{folder}: no such folder"]
