"""``gclrec serve``: a run as an HTTP service with a page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gclrec.cli.console import command, output
from gclrec.common.errors import InputError

app = command("serve")


@app.default
def serve(
    run: Annotated[Path, Parameter(help="Run folder, or a link to one that is moved to newer runs.")],
    *,
    host: Annotated[str, Parameter(help="Address to listen on; 0.0.0.0 for all networks.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen on.")] = 8000,
    workers: Annotated[int, Parameter(help="Processes that answer; vectors are shared.")] = 1,
    state: Annotated[
        Path | None,
        Parameter(
            help="Folder for feedback, attributes of added items and shared arrays. Default: RUN.serving."
        ),
    ] = None,
    item_attributes: Annotated[
        Path | None,
        Parameter(help="File of item attributes for filters and titles, beside those of the run."),
    ] = None,
    api_keys: Annotated[
        Path | None,
        Parameter(help="File of keys, one a line: read:KEY or write:KEY. Also from GCLREC_API_KEYS."),
    ] = None,
    cors: Annotated[
        tuple[str, ...],
        Parameter(consume_multiple=True, negative=(), help="Origins whose pages may ask from a browser."),
    ] = (),
    ids_as_strings: Annotated[
        bool, Parameter(negative=(), help="Write whole-number ids as text, where a request does not say.")
    ] = False,
    watch: Annotated[float, Parameter(help="Seconds between two looks whether the run has changed.")] = 1.0,
    max_body: Annotated[int, Parameter(help="Largest body of a request, in kB.")] = 4096,
    timeout: Annotated[
        float, Parameter(help="Seconds in which a request must arrive and be answered.")
    ] = 30.0,
    log_requests: Annotated[
        bool, Parameter(help="Log each request, one JSON object a line on stderr.")
    ] = True,
) -> None:
    """Answer requests for recommendations over HTTP, until SIGTERM or SIGINT."""
    for name, value, low in (("port", port, 0), ("workers", workers, 1), ("max-body", max_body, 1)):
        if value < low:
            raise InputError(f"--{name}: found {value}, expected at least {low}")
    for name, number in (("watch", watch), ("timeout", timeout)):
        if not 0.01 <= number <= 86_400:
            raise InputError(f"--{name}: found {number}, expected seconds from 0.01 to 86,400")
    for library in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        # Before NumPy is imported: requests are answered side by side, where more threads for each only wait.
        os.environ.setdefault(library, "1")
    from gclrec.common.files import local_path

    try:
        from gclrec.serving.server import Setup, listen
    except ModuleNotFoundError as error:
        raise InputError(f'serving needs an extra ({error.name}): pip install "gclrec[serve]"') from None

    run = local_path(run)
    listen(
        Setup(
            run=str(run),
            state=str(state or run.with_name(f"{run.name}.serving")),
            item_attributes=None if item_attributes is None else str(item_attributes),
            api_keys=None if api_keys is None else str(api_keys),
            origins=cors,
            ids_as_strings=ids_as_strings,
            watch=watch,
            max_body=max_body << 10,
            timeout=timeout,
            log_requests=log_requests,
        ),
        host=host,
        port=port,
        workers=workers,
        ready=lambda address: output().print(f"{address}: ready", soft_wrap=True),
    )
