"""``gclrec mcp``: a run as tools for assistants, by the Model Context Protocol."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gclrec.cli.console import command
from gclrec.common.errors import InputError

app = command("mcp")


@app.default
def mcp(
    run: Annotated[Path, Parameter(help="Run folder.")],
    *,
    state: Annotated[
        Path | None,
        Parameter(help="Folder of the service beside it, whose feedback counts. Default: RUN.serving."),
    ] = None,
    item_attributes: Annotated[
        Path | None,
        Parameter(help="File of item attributes for filters and titles, beside those of the run."),
    ] = None,
) -> None:
    """Answer an assistant on stdin and stdout: the tools recommend, similar, explain and describe."""
    from gclrec.common.files import local_path

    try:
        from gclrec.serving.mcp_tools import tools_of
        from gclrec.serving.service import ServiceOptions, load_served
    except ModuleNotFoundError as error:
        raise InputError(f'the tools need an extra ({error.name}): pip install "gclrec[mcp]"') from None
    run = local_path(run)
    options = ServiceOptions(run, state or run.with_name(f"{run.name}.serving"), item_attributes)
    with contextlib.suppress(KeyboardInterrupt):
        tools_of(load_served(options)).run("stdio")
