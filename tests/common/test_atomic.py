"""Files and folders are replaced in one step, and what killed writers left is finished or removed."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gclrec.common import atomic
from gclrec.common.atomic import discard, present, replacing
from gclrec.common.files import write_atomically


def make(fresh: Path, folder: bool, text: str) -> None:
    if folder:
        (fresh / "inner").mkdir(parents=True)
        (fresh / "inner" / "file").write_text(text)
    else:
        fresh.write_text(text)


def content(path: Path) -> str:
    return (path / "inner" / "file" if path.is_dir() else path).read_text()


as_folder = pytest.mark.parametrize("folder", [False, True])


@as_folder
def test_replacing(tmp_path: Path, folder: bool) -> None:
    path = tmp_path / "new" / "thing"
    for text in ("first", "second"):
        with replacing(path) as fresh:
            assert fresh.parent.parent == path.parent  # the same file system, so a rename is enough
            make(fresh, folder, text)
            assert not path.exists() or content(path) == "first"
        assert content(path) == text
    assert [each.name for each in path.parent.iterdir()] == ["thing"]


@as_folder
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError(28, "No space left on device")])
def test_a_failed_write_leaves_the_former(tmp_path: Path, folder: bool, error) -> None:
    path = tmp_path / "thing"
    with replacing(path) as fresh:
        make(fresh, folder, "former")

    def broken() -> None:
        with replacing(path) as fresh:
            make(fresh, folder, "half")
            raise error

    with pytest.raises(error if isinstance(error, type) else OSError):
        broken()
    assert content(path) == "former"
    assert [each.name for each in tmp_path.iterdir()] == ["thing"]


@as_folder
def test_a_failed_rename_leaves_the_former(
    tmp_path: Path, folder: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "thing"
    with replacing(path) as fresh:
        make(fresh, folder, "former")

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(atomic, "_swapped", lambda *_: False)
    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match=r"No space left on device: '.*/thing'$"), replacing(path) as fresh:
        make(fresh, folder, "new")
    assert content(path) == "former"
    assert [each.name for each in tmp_path.iterdir()] == ["thing"]


@as_folder
def test_permissions_are_the_usual_ones(tmp_path: Path, folder: bool) -> None:
    """What is written can be read by others, although the temporary folder cannot."""
    make(tmp_path / "usual", folder, "")
    with replacing(tmp_path / "thing") as fresh:
        assert stat.S_IMODE(fresh.parent.stat().st_mode) == 0o700
        make(fresh, folder, "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("usual", "thing")]
    assert modes[0] == modes[1]


def test_a_folder_in_the_way_is_kept(tmp_path: Path) -> None:
    make(tmp_path / "thing", True, "theirs")
    with pytest.raises(OSError, match="thing"), replacing(tmp_path / "thing", overwrite=False) as fresh:
        make(fresh, True, "ours")
    assert content(tmp_path / "thing") == "theirs"
    assert [each.name for each in tmp_path.iterdir()] == ["thing"]


def test_a_link_is_replaced_and_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "kept"
    assert (tmp_path / "link").read_text() == "new"


def test_threads_may_write_one_file(tmp_path: Path) -> None:
    texts = [str(number) * 10_000 for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda text: write_atomically(tmp_path / "file", text), texts * 5))
    assert (tmp_path / "file").read_text() in texts
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


# -- writers that were killed, and readers meanwhile ----------------------------------------------


@pytest.fixture(params=[True, False], ids=["swap", "two renames"])
def by_swap(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Replace folders in one step, or as on a system that cannot."""
    if not request.param:
        monkeypatch.setattr(atomic, "_swapped", lambda *_: False)
    return request.param


def put(path: Path, text: str) -> None:
    with replacing(path) as fresh:
        make(fresh, True, text)


def test_a_reader_meanwhile_finds_the_former_or_the_new(tmp_path: Path, by_swap: bool) -> None:
    path = tmp_path / "thing"
    put(path, "0")
    done = threading.Event()
    missing = []

    def read() -> None:
        while not done.is_set():
            if not (path.exists() if by_swap else present(path)):
                missing.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(60):
        put(path, str(number))
    done.set()
    reader.join()
    assert not missing
    assert content(path) == "59"


class Killed(BaseException):
    """Stands for the end of a process: nothing is cleaned."""


def killed_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rename: int) -> None:
    """Replace a folder by two renames and stop before a given one, leaving everything as it is."""
    with monkeypatch.context() as patch:
        count = iter(range(10))
        real = os.rename

        def stop(source: object, target: object) -> None:
            if next(count) >= rename:
                raise Killed
            real(str(source), str(target))

        patch.setattr(atomic, "_swapped", lambda *_: False)
        patch.setattr(shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(Path, "rename", lambda self, to: stop(self, to))
        patch.setattr(Path, "replace", lambda self, to: stop(self, to))
        with pytest.raises(Killed):
            put(tmp_path / "thing", "new")


@pytest.mark.parametrize("reads", [False, True])
@pytest.mark.parametrize(("rename", "expected"), [(0, "former"), (1, "new")])
def test_a_killed_replacement_is_finished_or_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rename: int, expected: str, reads: bool
) -> None:
    path = tmp_path / "thing"
    put(path, "former")
    killed_at(monkeypatch, tmp_path, rename)
    assert path.exists() == (rename == 0)
    if reads:
        assert present(path)
    else:
        write_atomically(tmp_path / "other", "")  # any writer in the folder
        assert sorted(each.name for each in tmp_path.iterdir()) == ["other", "thing"]
    assert content(path) == expected


def test_leftovers_are_removed_but_not_what_lives(tmp_path: Path) -> None:
    left = tmp_path / ".thing.abcd1234.partial"
    make(left / "thing", True, "half")
    theirs = tmp_path / ".thing.backup"
    theirs.mkdir()
    with replacing(tmp_path / "other") as fresh:
        assert not left.exists()
        make(fresh, False, "ours")
        put(tmp_path / "thing", "whole")  # a writer beside a living one
        assert fresh.exists()
    assert sorted(each.name for each in tmp_path.iterdir()) == [".thing.backup", "other", "thing"]


def test_discarding_leaves_nothing(tmp_path: Path) -> None:
    put(tmp_path / "thing", "some")
    discard(tmp_path / "thing")
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_a_number_names_the_path(tmp_path: Path) -> None:
    """NumPy reports a full disk so."""
    said = pytest.raises(OSError, match=r"cannot be written \(8 requested and 0 written\): '.*/thing'$")
    with said, replacing(tmp_path / "thing"), replacing(tmp_path / "inner"):
        raise OSError("8 requested and 0 written")
