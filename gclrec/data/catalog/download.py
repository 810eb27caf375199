"""Download files: complete and verified, or not there at all."""

from __future__ import annotations

import os
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from gclrec.common.errors import InputError

_TIMEOUT = 30.0


class _FinalError(Exception):
    """A failure that another attempt would not change; pooch does not try again after it."""


def fetch(
    url: str,
    path: str | os.PathLike[str],
    *,
    checksum: str | None = None,
    attempts: int = 3,
    progress: bool | None = None,
) -> Path:
    """Download one file.

    The file appears at ``path`` only when it is complete and its checksum is right; a failure leaves nothing
    behind. A file that is already there is kept unless its checksum is known and wrong.

    Args:
        url: an ``http://`` or ``https://`` address.
        path: where the file goes; its folder is created.
        checksum: ``"md5:..."`` or ``"sha256:..."``; ``None`` if none is published.
        attempts: attempts in all, one and two seconds apart; an address that does not exist is tried once.
        progress: show a bar on stderr; only on a terminal if ``None``.

    Raises:
        InputError: no connection, no such address, an incomplete transfer, or a wrong checksum.
    """
    import pooch
    from requests import exceptions

    path = Path(path)
    pooch.get_logger().setLevel("WARNING")
    files = pooch.Pooch(
        path.parent, "", {path.name: checksum}, {path.name: url}, retry_if_failed=attempts - 1
    )
    shown = sys.stderr.isatty() if progress is None else progress
    try:
        files.fetch(path.name, downloader=lambda url, file, _: _transfer(url, file, path.name, shown))
    except _FinalError as error:
        raise InputError(f"{url}: {error}") from error.__cause__
    except exceptions.RequestException as error:
        raise InputError(f"{url}: {_problem(error)}") from error
    except ValueError as error:  # the checksum
        problem = "the file is not the published one (its checksum differs); nothing was kept"
        raise InputError(f"{url}: {problem}") from error
    return path


def _transfer(url: str, file: str, label: str, shown: bool) -> None:
    """Download to a temporary file by pooch's downloader, with a bar, and check the number of bytes."""
    from pooch import HTTPDownloader
    from requests import exceptions
    from tqdm import tqdm

    plain = {"Accept-Encoding": "identity"}  # the announced length is that of the bytes as sent
    try:
        with tqdm(total=1, desc=label, unit="B", unit_scale=True, disable=not shown) as bar:
            HTTPDownloader(progressbar=bar, chunk_size=1 << 16, timeout=_TIMEOUT, headers=plain)(
                url, file, None
            )
            announced = int(bar.total)
    except exceptions.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        if status >= 500 or status == 429:
            raise
        raise _FinalError(_problem(error)) from error
    except ValueError as error:  # malformed addresses; other errors of requests are no ValueError
        raise _FinalError(f"not an address that can be downloaded ({error})") from error
    if announced and Path(file).stat().st_size != announced:  # old versions of urllib3 do not notice
        raise exceptions.ChunkedEncodingError(f"expected {announced:,} bytes")


def _problem(error: Exception) -> str:
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, exceptions.Timeout):
        return f"no answer within {_TIMEOUT:g} seconds"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection to the server"
    if isinstance(error, exceptions.ChunkedEncodingError | exceptions.ContentDecodingError):
        return "the transfer was cut off before its end"
    return f"the download failed ({error})"


def unzip(archive: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Unpack a zip file into a new folder, completely or not at all.

    If the archive holds a single folder, the content of that folder is unpacked.

    Args:
        archive: the zip file; it stays.
        folder: a folder that does not exist or is empty.

    Raises:
        InputError: the archive is damaged, or a name in it points outside the folder.
    """
    archive, folder = Path(archive), Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    # pooch.Unzip unpacks in place, so that an interruption would leave a part of the files.
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        unpacked = Path(temporary) / "unpacked"
        try:
            with zipfile.ZipFile(archive) as packed:
                for name in packed.namelist():
                    parts = PurePosixPath(name.replace("\\", "/")).parts
                    if ".." in parts or name.startswith(("/", "\\")) or ":" in name:
                        problem = f"the entry {name!r} points outside the folder; nothing was unpacked"
                        raise InputError(f"{archive}: {problem}")
                packed.extractall(unpacked)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{archive}: not a zip file that can be unpacked ({error})") from error
        content = list(unpacked.iterdir())
        if len(content) == 1 and content[0].is_dir():
            unpacked = content[0]
        if folder.is_dir():
            folder.rmdir()  # Windows does not replace even an empty folder
        unpacked.rename(folder)
    return folder
