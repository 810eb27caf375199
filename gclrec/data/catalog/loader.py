"""Find, download and read data sets by name; read others by path."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from gclrec.common.errors import InputError, InputWarning, SettingError
from gclrec.common.files import local_path
from gclrec.data.catalog.download import fetch, unzip
from gclrec.data.catalog.entries import CATALOG, Entry
from gclrec.data.filters import Keep, filtered
from gclrec.data.interactions import Dataset, Interactions
from gclrec.data.io.attributes import with_attribute_files
from gclrec.data.io.columns import AnyPath, Columns
from gclrec.data.io.folders import layout_of, matching
from gclrec.data.io.formats import GUESSED, detect_format
from gclrec.data.io.frames import attributes_from
from gclrec.data.io.readers import KEEP, read_dataset
from gclrec.data.synthetic import make_synthetic

VARIABLE = "GCLREC_DATASETS"
"""Environment variable with the path of a folder that has a subfolder for each data set."""


def locate(name: str) -> Path | None:
    """Return the folder of a data set on this machine, ``None`` if it is not there.

    ``$GCLREC_DATASETS/<name>`` comes first, then the cache.

    Raises:
        InputError: the name is not in the catalogue, or its folder in ``$GCLREC_DATASETS`` is not complete.
    """
    entry = _entry(name)
    for place in _places(name, entry):
        if any(layout.files_in(place) is not None for layout in entry.layouts):
            return place
        if place.is_dir() and place.parent != cache_folder():
            raise InputError(f"{place}: not a complete {name}; expected {_wanted(entry)}")
    return None


def find(name: str) -> Path:
    """Return the folder of a data set; download it into the cache if it is not on this machine.

    Raises:
        InputError: it has no public address, or the download failed; says where to get it and where to put
            it.
    """
    entry = _entry(name)
    if entry.synthetic:
        raise InputError(f"{name} is made in code and has no folder")
    place = locate(name)
    if place is not None:
        return place
    folder = _places(name, entry)[-1]
    advice = f"get it from {entry.origin} and put {_wanted(entry)} into {_places(name, entry)[0]}"
    if not entry.downloads:
        raise InputError(f"{name}: not on this machine, and there is no download; {advice}")
    warnings.warn(f"{name}: downloading to {folder}; terms: {entry.terms}", InputWarning, stacklevel=2)
    try:
        _download(entry, folder)
    except InputError as error:
        raise InputError(f"{name}: {error}; or {advice}") from error
    if locate(name) is None:
        raise InputError(f"{name}: what was downloaded to {folder} is not complete; {advice}")
    return folder


def load(
    name: AnyPath,
    *,
    columns: Columns = GUESSED,
    format: str = "auto",
    test: AnyPath | None = None,
    valid: AnyPath | None = None,
    keep: Keep = KEEP,
) -> Dataset:
    """Load a data set by its name in ``CATALOG``, or from a file or folder.

    Names come before paths; ``./name`` is a file or folder of that name. ``synthetic-500x800x9000`` is a
    synthetic data set of 500 users, 800 items and 9,000 interactions, ``synthetic-500x800x9000-7`` the same
    with seed 7.

    Other arguments are those of :func:`~gclrec.data.io.readers.read_dataset`; all but ``keep`` are for paths
    only.

    Raises:
        InputError: the name is unknown, or the data cannot be found or read.
    """
    text = os.fspath(name)
    made = re.fullmatch(r"synthetic(?:-(\d+)x(\d+)x(\d+)(?:-(\d+))?)?", text)
    if (text in CATALOG or made) and Path(text).exists():
        message = (
            f"{text}: read from the catalogue; write .{os.sep}{text} for the file or folder of that name here"
        )
        warnings.warn(message, InputWarning, stacklevel=2)
    if text not in CATALOG and not made:
        return _read_path(text, columns=columns, format=format, test=test, valid=valid, keep=keep)
    own = replace(columns, user_id=None, item_id=None, quote=GUESSED.quote)
    if own != GUESSED or format != "auto" or test is not None or valid is not None:
        raise InputError(
            f"{text} is a data set of the catalogue, whose columns, format and parts are known; "
            f"for a file or folder of that name write .{os.sep}{text}"
        )
    if made:
        *sizes, seed = (int(number) for number in made.groups("0"))
        dataset = make_synthetic(*sizes, seed=seed) if text != "synthetic" else make_synthetic()
        return filtered(replace(dataset, name=text), min_rating=keep.min_rating)
    entry, folder = CATALOG[text], find(text)
    for layout in entry.layouts:
        files = layout.files_in(folder)
        if files is not None:
            dataset = layout.read(files, keep)
            if keep.min_rating is None and len(dataset.interactions) != entry.interactions:
                counts = f"{len(dataset.interactions):,} interactions and not {entry.interactions:,}"
                warnings.warn(f"{folder}: {counts}; another version of {text}?", InputWarning, stacklevel=2)
            # The original files of a published split may lack it.
            dataset = replace(dataset, files=tuple(map(str, files.values())))
            usable = entry.default_split != "given" or "test" in dataset.parts
            return replace(dataset, name=text, default_split=entry.default_split if usable else "random")
    raise InputError(f"{folder}: not a complete {text}; expected {_wanted(entry)}")


def _read_path(text: str, *, format: str, **options: Any) -> Dataset:
    path = local_path(text)
    if not path.exists() and not matching(path):
        if path.suffix or len(path.parts) > 1 or text.startswith((".", "~")):
            raise InputError(f"{text}: no such file or folder")
        raise _unknown(text)
    dataset = read_dataset(path, format=format, **options)
    if dataset.interactions.time is None:
        return dataset
    ordered = format == "sequence" or (format == "auto" and _first_format(path) == "sequence")
    return replace(dataset, time_is_order=ordered or times_are_places(dataset.interactions))


def prepared_dataset(
    settings: Any, dataset: Dataset | str | None = None, tables: Mapping[str, Any] | None = None
) -> Dataset:
    """Return a data set read, with attributes and filtered as settings say.

    Args:
        settings: of a run, as attributes such as ``user_column`` and ``k_core``.
        dataset: take this one, or the one of this name, instead of the one that the settings name.
        tables: attributes of ``user`` and ``item`` in memory, in place of those of the data set.

    Raises:
        InputError: the data cannot be found or read, or nothing is left.
    """
    columns = Columns.of(settings)
    if not isinstance(dataset, Dataset):
        keep = Keep(settings.min_rating, settings.repeats)
        parts = {"test": settings.test_file, "valid": settings.valid_file}
        dataset = load(
            dataset or settings.dataset, columns=columns, format=settings.format, keep=keep, **parts
        )
    for side, table in (tables or {}).items():
        what, id_column = f"{side}_attributes", getattr(columns, f"{side}_id")
        attributes: Any = {what: attributes_from(table, id_column=id_column, name=what, side=side)}
        dataset = replace(dataset, **attributes)
    dataset = with_attribute_files(dataset, settings.user_attributes, settings.item_attributes, columns)
    for side, table in (("user", dataset.user_attributes), ("item", dataset.item_attributes)):
        if table is None and getattr(columns, f"{side}_id") is not None:
            message = f"names a column of {side} attributes, and there are none"
            raise SettingError(f"{side}_id_column", message)
    return filtered(dataset, k_core=settings.k_core)


def _first_format(path: Path) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # reading the data has warned already
        return detect_format(layout_of(path).train[0])


def times_are_places(pairs: Interactions) -> bool:
    """Return whether the times of all users are 0, 1, 2, ... or of all users 1, 2, 3, ..."""
    if pairs.time is None or len(pairs) == 0 or pairs.time.max() > pairs.user_degrees().max():
        return False
    order = np.lexsort((pairs.time, pairs.user))
    user, time = pairs.user[order], pairs.time[order]
    first = np.concatenate([[True], user[1:] != user[:-1]])
    starts_alike = np.isin(time[first], (0.0, 1.0)).all() and len(np.unique(time[first])) == 1
    return bool(starts_alike and (np.diff(time)[~first[1:]] == 1).all())


def _entry(name: str) -> Entry:
    if name not in CATALOG:
        raise _unknown(name)
    return CATALOG[name]


def _unknown(name: str) -> InputError:
    close = difflib.get_close_matches(name.lower(), CATALOG, n=3, cutoff=0.5)
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    known = ", ".join(CATALOG)
    return InputError(f"unknown data set {name!r}, and no such file or folder; {guess}catalogue: {known}")


def cache_folder() -> Path:
    """Return the user's folder of downloaded data sets, with a subfolder for each."""
    import pooch

    return Path(pooch.os_cache("gclrec"))


def _places(name: str, entry: Entry) -> list[Path]:
    """Return the possible folders of a data set; the cache is the last."""
    roots = [Path(root).expanduser() for root in [os.environ.get(VARIABLE)] if root]
    return [root / (entry.folder or name) for root in [*roots, cache_folder()]]


def _wanted(entry: Entry) -> str:
    ways = " or ".join(f"({layout})" if len(entry.layouts) > 1 else str(layout) for layout in entry.layouts)
    return f"{ways}, each plain or .gz"


def _download(entry: Entry, folder: Path) -> None:
    """Fetch missing files, so that a second call continues after a failure."""
    for download in entry.downloads:
        if not download.filename.endswith(".zip"):
            if not (folder / download.filename).is_file():
                fetch(download.url, folder / download.filename, checksum=download.checksum)
            continue
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder} is not empty and not complete; remove it")
        archive = fetch(download.url, folder.parent / download.filename, checksum=download.checksum)
        unzip(archive, folder)
        archive.unlink()
