"""Files from the web: whole and checked, or not there at all."""

from __future__ import annotations

import os
import sys
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from gclrec.common.errors import InputError

_TIMEOUT = 30.0
_CHUNK = 1 << 16


class _CutOffError(OSError):
    """The server closed the connection before all bytes had come."""


def fetch(
    url: str,
    path: str | os.PathLike[str],
    *,
    checksum: str | None = None,
    attempts: int = 3,
    pause: float = 1.0,
    progress: bool | None = None,
) -> Path:
    """Download one file.

    The bytes go to a temporary file beside ``path``, which takes its name only when all of them have come
    and the checksum is right. So a file at ``path`` is always whole; after a failure nothing is left.

    Args:
        url: an ``http://`` or ``https://`` address.
        path: where the file goes; its folder is made. A file that is there is replaced only if its checksum
            is known and wrong.
        checksum: ``"md5:..."`` or ``"sha256:..."``; ``None`` if none is published.
        attempts: tries in all; an address that does not exist is tried once.
        pause: seconds before the second try, twice as long before the third, and so on.
        progress: show a bar on stderr; only on a terminal if ``None``.

    Returns:
        The path.

    Raises:
        InputError: no connection, no such address, a transfer that was cut off each time, or a file that
            is not the published one.
    """
    import pooch

    path = Path(path)
    pooch.get_logger().setLevel("WARNING")
    shown = sys.stderr.isatty() if progress is None else progress
    for attempt in range(1, attempts + 1):
        try:
            pooch.retrieve(
                url, checksum, fname=path.name, path=path.parent, downloader=_Transfer(path.name, shown)
            )
            return path
        except Exception as error:
            problem, passing = _explain(error)
            if problem is None:
                raise
            if not passing or attempt == attempts:
                raise InputError(f"{url}: {problem}") from error
        time.sleep(pause * attempt)
    raise InputError(f"the number of attempts must be 1 or more, got {attempts}")


class _Transfer:
    """One transfer by pooch's downloader, with a bar, that notices when bytes are missing."""

    def __init__(self, label: str, shown: bool) -> None:
        self.label, self.shown = label, shown

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        from pooch import HTTPDownloader
        from tqdm import tqdm

        # Unpacked on the way, the bytes could not be counted: ask for them as they are.
        plain = {"Accept-Encoding": "identity"}
        with tqdm(total=1, desc=self.label, unit="B", unit_scale=True, disable=not self.shown) as bar:
            HTTPDownloader(progressbar=bar, chunk_size=_CHUNK, timeout=_TIMEOUT, headers=plain)(
                url, output_file, pooch
            )
            announced, received = int(bar.total), Path(output_file).stat().st_size
        if announced and received != announced:
            raise _CutOffError(f"{received:,} of {announced:,} bytes")


def _explain(error: Exception) -> tuple[str | None, bool]:
    """Return what went wrong in words (``None``: not our matter), and whether another try may help."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        status = error.response.status_code
        return f"the server answered {status} {error.response.reason}", status >= 500 or status == 429
    if isinstance(error, _CutOffError | exceptions.ChunkedEncodingError | exceptions.ContentDecodingError):
        return "the transfer was cut off before its end", True
    if isinstance(error, exceptions.Timeout):
        return f"no answer within {_TIMEOUT:g} seconds", True
    if isinstance(error, exceptions.ConnectionError):
        return "no connection to the server", True
    if isinstance(error, exceptions.RequestException):
        return f"not an address that can be downloaded ({error})", False
    if isinstance(error, ValueError) and "hash" in str(error):
        return "the file is not the published one (its checksum differs); nothing was kept", True
    return None, False


def unzip(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Unpack a zip file into a new folder, all of it or nothing.

    If everything in the archive lies in one folder, the content of that folder is what is unpacked.

    Args:
        archive: the zip file; it stays.
        folder: a folder that does not exist, or is empty.

    Returns:
        The folder.

    Raises:
        InputError: the archive is damaged, or a name in it points outside.
    """
    archive, folder = Path(archive), Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as workplace:
        try:
            with zipfile.ZipFile(archive) as packed:
                _refuse_outside(archive, packed.namelist())
                packed.extractall(workplace)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{archive}: not a zip file that can be unpacked ({error})") from error
        content = list(Path(workplace).iterdir())
        unpacked = content[0] if len(content) == 1 and content[0].is_dir() else Path(workplace)
        if unpacked == Path(workplace):
            unpacked = Path(workplace) / folder.name
            unpacked.mkdir()
            for each in content:
                each.rename(unpacked / each.name)
        if folder.is_dir():
            folder.rmdir()  # on Windows, a folder does not replace even an empty one
        unpacked.rename(folder)
    return folder


def _refuse_outside(archive: Path, names: Sequence[str]) -> None:
    for name in names:
        parts = PurePosixPath(name.replace("\\", "/")).parts
        if ".." in parts or name.startswith(("/", "\\")) or ":" in name:
            raise InputError(f"{archive}: the entry {name!r} points outside the folder; nothing was unpacked")
