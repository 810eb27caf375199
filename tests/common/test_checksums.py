"""Files that are listed with their checksums are checked when they are read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gclrec.common import checksums
from gclrec.common.checksums import CHECKSUMS, check, record, recording, there
from gclrec.common.errors import InputError
from gclrec.common.files import read_json, write_atomically


def test_every_flipped_byte_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, '{"a": 1}', checksum=True)
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(InputError, match=r"a\.json: damaged or altered"):
            read_json(path)
    path.write_bytes(content[:-1])
    with pytest.raises(InputError, match=r"a\.json: damaged or altered"):
        read_json(path)
    path.unlink()
    with pytest.raises(InputError, match=r"a\.json: missing, checksums\.json lists it"):
        there(path)
    path.write_text('{"a": 2}')
    (tmp_path / CHECKSUMS).unlink()
    assert read_json(path) == {"a": 2}
    assert not there(tmp_path / "b.json")


def test_a_file_of_lines_may_grow_but_not_change(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("1\n2\n")
    record([path])
    path.write_text("1\n2\n3\n")
    check(path)
    for changed in ("1\n3\n3\n", "1\n"):
        path.write_text(changed)
        with pytest.raises(InputError, match="damaged or altered"):
            check(path)


@pytest.mark.parametrize("lists", [1, 2], ids=["before the file", "after the file"])
def test_killed_while_it_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lists: int) -> None:
    """Whatever was written by then can be read, and the next writer goes on."""
    path, made, list_ = tmp_path / "a.json", [], checksums._list
    write_atomically(path, "{}", checksum=True)

    def stop(folder: Path, entries: dict) -> None:
        made.append(entries)
        if len(made) == lists:
            raise KeyboardInterrupt
        list_(folder, entries)

    with monkeypatch.context() as patch:
        patch.setattr(checksums, "_list", stop)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, '{"a": 1}', checksum=True)
    assert read_json(path) == ({} if lists == 1 else {"a": 1})
    write_atomically(path, '{"a": 2}', checksum=True)
    assert read_json(path) == {"a": 2}
    assert len(json.loads((tmp_path / CHECKSUMS).read_text())["a.json"]) == 1


def test_read_while_it_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_atomically(path, "{}", checksum=True)
    with recording(path) as fresh:
        fresh.write_text('{"a": 1}')
        check(path)
    check(path)


@pytest.mark.parametrize("text", ["", "[]", '{"a.json": 3}', '{"a.json": [{"bytes": "1"}]}', "[" * 99_999])
def test_a_damaged_list_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text("{}")
    (tmp_path / CHECKSUMS).write_text(text)
    with pytest.raises(InputError, match=r"checksums\.json: damaged or cut off"):
        read_json(tmp_path / "a.json")
