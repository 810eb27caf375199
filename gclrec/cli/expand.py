"""``gclrec data expand``: a large table with the structure of a small one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gclrec.cli.console import Json, emit_json, output, progress_console
from gclrec.cli.reading import Reading
from gclrec.common.errors import InputError
from gclrec.common.files import check_table_path, write_table
from gclrec.data.catalog.loader import prepared_dataset
from gclrec.data.expansion import Expansion


def expand(
    name: Annotated[str, Parameter(help="Name in `gclrec data list`, or a file or folder.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="Table to write: .parquet or .csv.")],
    rows: Annotated[int | None, Parameter(help="About so many interactions.")] = None,
    factor: Annotated[
        float | None, Parameter(help="Instead of --rows: so many times as many interactions.")
    ] = None,
    item_factor: Annotated[
        int | None,
        Parameter(help="So many times as many items. Default: the square root of the growth in users."),
    ] = None,
    text_ids: Annotated[
        bool, Parameter(negative=(), help="Ids of 16 hexadecimal digits, in place of whole numbers.")
    ] = False,
    seed: Annotated[int, Parameter(help="Seed of all random choices.")] = 0,
    reading: Reading | None = None,
    json: Json = False,
) -> None:
    """Write a table of any size whose degrees, spectrum and clusters resemble those of a data set.

    The table is a randomised Kronecker product of the interactions with a small matrix of their own shape
    (Belletti et al., https://arxiv.org/abs/1901.08910), for measurements of speed and memory. Memory is
    bounded by the original data.
    """
    from rich.progress import track

    if (rows is None) == (factor is None):
        raise InputError("give one of --rows N and --factor F")
    check_table_path(out)
    began = time.perf_counter()
    pairs = prepared_dataset(reading or Reading(), name).interactions
    if factor is not None and not 1 <= factor < 1e9:
        raise InputError(f"--factor: found {factor:g}, expected at least 1")
    wanted = rows if rows is not None else round(float(factor or 1) * len(pairs))
    expansion = Expansion.of(pairs, wanted, item_factor=item_factor, seed=seed)
    shown = track(
        expansion.tables(text_ids=text_ids),
        "expanding",
        total=len(expansion.keep),
        console=progress_console(),
        transient=True,
    )
    written = write_table(out, shown)
    seconds = time.perf_counter() - began
    sizes = {"users": expansion.num_users, "items": expansion.num_items}
    found = f"{written:,} interactions among {sizes['users']:,} users and {sizes['items']:,} items"
    output(json).print(f"{out}: {found} in {seconds:.1f} s", soft_wrap=True)
    if json:
        emit_json({"out": str(out), "interactions": written, **sizes, "seconds": seconds})
