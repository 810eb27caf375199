"""The run folder: all files that are needed to resume, evaluate, export and serve a run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import tomli_w

from gclrec.common.atomic import discard, naming, replacing
from gclrec.common.checksums import check, forget, record, there
from gclrec.common.errors import InputError, UnfinishedError, reading
from gclrec.common.files import read_json, read_parquet, read_toml, write_atomically, write_parquet
from gclrec.common.locks import holding
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.data.schema import Schema
from gclrec.data.splits import Split
from gclrec.runs.reading import JOINED, PARTS, REMOVED, read_pairs, read_vocabulary, vocabulary_of

WAIT = 30.0
"""Seconds that a writer waits for another one, where it can expect that to be short."""


class RunFolder:
    """A folder ``runs/NAME`` with settings, split, checkpoints, figures, embeddings and index.

    ======================  ==========================================================
    ``config.toml``         every setting, resolved
    ``split/``              raw ids by row number; pairs of train, valid, test (and exposed), with times
    ``attributes/``         raw attribute tables and their schema, where they are used
    ``metrics.jsonl``       one line an epoch
    ``checkpoint/``         ``last`` (to resume) and ``best`` (the chosen epoch)
    ``embeddings/``         final vectors of users and items with their raw ids
    ``fold_in/``            what gives vectors to new users and items
    ``per_user.parquet``    test scores of each user
    ``result.json``         the final figures, also printed as JSON
    ``checksums.json``      of the files beside it; ``split/`` and ``attributes/`` have their own
    ``index/``              written by ``gclrec export``
    ``report.html``         the page of the run
    ``added/``              items added after training, written by ``gclrec add-items``
    ======================  ==========================================================

    Every file is written under a temporary name and renamed, so a reader never sees half of one. Writers hold
    the lock of the folder (see :mod:`gclrec.common.locks`).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._holds = False

    @classmethod
    @contextlib.contextmanager
    def creating(
        cls,
        path: Path,
        settings: Mapping[str, Any],
        split: Split,
        exposed: Interactions | None = None,
        attributes: Mapping[str, tuple[Schema, pl.DataFrame]] = MappingProxyType({}),
    ) -> Iterator[RunFolder]:
        """Make the folder with its settings, split and attributes, and hold its lock while the block runs.

        It appears whole and locked, or not at all. If the block raises an :class:`InputError` before an epoch
        is done, such as for settings that do not suit the data, the folder is removed.

        Args:
            path: where; it must not exist.
            settings: every setting of the run, as plain values.
            split: what is trained and tested on.
            exposed: pairs that were shown and not clicked, numbered as the split is.
            attributes: schema and raw table of ``users`` and ``items``, where they are used.

        Raises:
            InputError: the folder exists already.
        """
        check_free(path)
        with contextlib.ExitStack() as lock:
            try:
                with replacing(path, overwrite=False) as fresh:
                    run = cls(fresh)
                    run.write_settings(settings)
                    run._write_split(split)
                    if exposed is not None:
                        run._write_pairs("exposed", exposed)
                    run._write_attributes(attributes)
                    for part in (fresh / "split", fresh / "attributes"):
                        record(sorted(part.iterdir()) if part.exists() else [])
                    lock.enter_context(holding(fresh, "training"))
            except OSError:
                check_free(path)  # another process has made it meanwhile
                raise
            run = cls(path)
            run._holds = True
            try:
                yield run
            except InputError:
                if not run.last_checkpoint.exists():
                    discard(path)
                raise
            finally:
                run._holds = False

    @classmethod
    def create(cls, *arguments: Any, **named: Any) -> RunFolder:
        """Make the folder as :meth:`creating` does, without keeping its lock."""
        with cls.creating(*arguments, **named) as run:
            return cls(run.path)

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Return an existing run folder.

        Raises:
            InputError: it is not there or has no ``config.toml``.
        """
        if not (path / "config.toml").is_file():
            what = "not a run folder (it has no config.toml)" if path.is_dir() else "no such run folder"
            raise InputError(f"{path}: {what}")
        return cls(path)

    @contextlib.contextmanager
    def held(self, doing: str = "training", *, wait: float = 0.0) -> Iterator[RunFolder]:
        """Hold the lock of the folder while the block runs, and yield the folder.

        Args:
            doing: what for, as others are told.
            wait: seconds to wait for another holder.

        Raises:
            InputError: another process holds it; the message says which and what for.
        """
        if self._holds:
            yield self
            return
        with holding(self.path, doing, wait=wait):
            self._holds = True
            try:
                yield self
            finally:
                self._holds = False

    @property
    def last_checkpoint(self) -> Path:
        """State after the last whole epoch."""
        return self.path / "checkpoint" / "last.safetensors"

    @property
    def best_checkpoint(self) -> Path:
        """Encoder of the chosen epoch."""
        return self.path / "checkpoint" / "best.safetensors"

    def settings(self) -> dict[str, Any]:
        """Return the settings of the run as plain values."""
        return read_toml(self.path / "config.toml")

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Replace the settings, as when a run is continued for more epochs."""
        write_atomically(self.path / "config.toml", tomli_w.dumps(settings), checksum=True)

    def pilot(self) -> dict[str, Any]:
        """Return what ``pilot.json`` holds; nothing where no recipe is chosen, or the pilot has not begun."""
        path = self.path / "pilot.json"
        return read_json(path) if there(path) else {}

    def write_pilot(self, values: Mapping[str, Any]) -> None:
        """Replace ``pilot.json``."""
        write_atomically(self.path / "pilot.json", json.dumps(dict(values), indent=2), checksum=True)

    # -- the split -------------------------------------------------------------------------------

    def _write_split(self, split: Split) -> None:
        folder = self.path / "split"
        for side, vocabulary in (("users", split.train.users), ("items", split.train.items)):
            write_parquet(folder / f"{side}.parquet", pl.DataFrame({"id": vocabulary.ids}))
        for part in PARTS:
            self._write_pairs(part, getattr(split, part))
        if split.removed is not None:
            self._write_pairs(REMOVED, split.removed)
        how = {"name": split.name, "train_fraction": split.train_fraction, "seed": split.seed}
        write_atomically(folder / "split.json", json.dumps(how))

    def joined(self, split: Split) -> str:
        """Return the part with the validation pairs of a refit; it is written if that is not all of them."""
        joining, left = split.joining()
        if left is None:
            return "valid"
        self._write_pairs(JOINED, joining, checksum=True)
        return JOINED

    def _write_pairs(self, name: str, pairs: Interactions, *, checksum: bool = False) -> None:
        columns: dict[str, Any] = {"user": pairs.user, "item": pairs.item}
        if pairs.time is not None:
            columns["time"] = pairs.time
        frame = pl.DataFrame(columns)
        write_parquet(self.path / "split" / f"{name}.parquet", frame, checksum=checksum)

    def exposed(self) -> Interactions:
        """Return the pairs that were shown and not clicked.

        Raises:
            InputError: the file is missing or damaged.
        """
        users, items = self._vocabularies()
        return read_pairs(self.path / "split" / "exposed.parquet", users, items)

    def _vocabularies(self) -> tuple[Vocabulary, Vocabulary]:
        users, items = (
            read_vocabulary(self.path / "split" / f"{side}.parquet") for side in ("users", "items")
        )
        return users, items

    def split(self) -> Split:
        """Return the split that the run was made with.

        Raises:
            InputError: a file of it is missing or damaged.
        """
        folder = self.path / "split"
        users, items = self._vocabularies()
        parts = {part: read_pairs(folder / f"{part}.parquet", users, items) for part in PARTS}
        how = read_json(folder / "split.json")
        removed = None
        if there(folder / f"{REMOVED}.parquet"):
            removed = read_pairs(folder / f"{REMOVED}.parquet", users, items)
        with reading(folder / "split.json", "cannot be used"):
            return Split(
                **parts,
                name=str(how.get("name")),
                train_fraction=float(how.get("train_fraction", 1.0)),
                seed=int(how.get("seed", 0)),
                removed=removed,
            )

    def num_pairs(self) -> int:
        """Return the number of training pairs, without reading them.

        Raises:
            InputError: the file is missing or damaged.
        """
        path = self.path / "split" / "train.parquet"
        with reading(path):
            return int(pl.scan_parquet(path).select(pl.len()).collect().item())

    # -- attributes ------------------------------------------------------------------------------

    def _write_attributes(self, attributes: Mapping[str, tuple[Schema, pl.DataFrame]]) -> None:
        if not attributes:
            return
        folder = self.path / "attributes"
        for side, (_, table) in attributes.items():
            write_parquet(folder / f"{side}.parquet", table)
        schemas = {side: schema.to_json() for side, (schema, _) in attributes.items()}
        write_atomically(folder / "schema.json", json.dumps(schemas))

    def schemas(self) -> dict[str, Schema]:
        """Return the schema of ``users`` and ``items``, of each that has attributes in this run."""
        path = self.path / "attributes" / "schema.json"
        if not there(path):
            return {}
        return {side: Schema.from_json(fields, source=str(path)) for side, fields in read_json(path).items()}

    def attribute_tables(self) -> dict[str, tuple[Schema, pl.DataFrame]]:
        """Return schema and raw table of the attributes of ``users`` and ``items``, as far as there are any.

        Raises:
            InputError: a file is missing or damaged.
        """
        tables = {}
        for side, schema in self.schemas().items():
            path = self.path / "attributes" / f"{side}.parquet"
            tables[side] = schema, read_parquet(path)
            vocabulary_of(tables[side][1], path)  # refuses a table without distinct ids
        return tables

    # -- figures ---------------------------------------------------------------------------------

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of ``metrics.jsonl``; a last line that was cut off is left out."""
        return list(self._whole_lines())

    def _whole_lines(self) -> Iterator[dict[str, Any]]:
        path = self.path / "metrics.jsonl"
        if not there(path):
            return
        check(path)
        with reading(path, "damaged"):
            lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            try:
                record = json.loads(line)
            except (json.JSONDecodeError, RecursionError):
                return
            if not isinstance(record, dict):
                raise InputError(f"{path}: damaged, found {line[:40]!r}, expected an object a line")
            yield record

    def append_metrics(self, record: Mapping[str, Any]) -> None:
        """Add one line to ``metrics.jsonl``."""
        path = self.path / "metrics.jsonl"
        with naming(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def metrics_sha256(self, lines: int | None = None) -> str:
        """Return the SHA-256 of ``metrics.jsonl``, or of its first lines."""
        path = self.path / "metrics.jsonl"
        content = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        return hashlib.sha256(b"".join(content[:lines])).hexdigest()

    def keep_metrics(self, lines: int, sha256: str | None = None) -> None:
        """Keep the first lines of ``metrics.jsonl``: those of epochs that a checkpoint holds.

        Args:
            lines: how many.
            sha256: their checksum, if it is known.

        Raises:
            InputError: the lines are not those that were written.
        """
        if sha256 is not None and self.metrics_sha256(lines) != sha256:
            path = self.path / "metrics.jsonl"
            raise InputError(
                f"{path}: damaged or altered, its first {lines} lines are not those of the checkpoint; "
                f"put back a copy of it, or remove {self.last_checkpoint.parent} and resume, "
                "which trains from the start"
            )
        self.write_metrics(self.metrics()[:lines] if lines else [])

    def write_metrics(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Replace ``metrics.jsonl``."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.path / "metrics.jsonl", lines, checksum=True)

    def remove_result(self) -> None:
        """Remove the final figures and the page, before the vectors that they are of are replaced."""
        forget(self.path / "result.json")
        for name in ("result.json", "report.html"):
            (self.path / name).unlink(missing_ok=True)

    def write_result(self, result: Mapping[str, Any], per_user: pl.DataFrame) -> None:
        """Write the final figures."""
        record([self.path / "metrics.jsonl"])
        write_parquet(self.path / "per_user.parquet", per_user, checksum=True)
        write_atomically(self.path / "result.json", json.dumps(dict(result), indent=2), checksum=True)


def check_free(path: Path) -> None:
    """Check that a run folder can be made somewhere, before the work is done.

    Raises:
        InputError: something is there already.
    """
    if path.exists():
        message = f"{path}: exists already; choose another folder"
        if (path / "config.toml").is_file():
            raise UnfinishedError(path, f"{message} or resume its training")
        raise InputError(message)


def free_name(parent: Path, stem: str) -> Path:
    """Return ``parent/STEM-N`` with the first number ``N`` that is not taken."""
    taken = {path.name for path in parent.iterdir()} if parent.is_dir() else set()
    stem = plain_name(stem)
    return next(parent / f"{stem}-{n}" for n in range(1, len(taken) + 2) if f"{stem}-{n}" not in taken)


def plain_name(text: str) -> str:
    """Return a text as a name for a folder: letters, digits and a few marks."""
    return re.sub(r"[^A-Za-z0-9_.+,=-]+", "_", text).strip("_")
