"""``gclrec doctor``: what this machine has, what is missing, and what would be faster."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.table import Table

from gclrec.cli.console import Json, command, emit_json, output
from gclrec.training.machine import examine

app = command("doctor")


@app.default
def doctor(
    *,
    measure: Annotated[bool, Parameter(help="Time a propagation and a matrix product too.")] = True,
    json: Json = False,
) -> None:
    """Print versions, threads, devices, memory and data folders, and how to mend what is wrong or slow."""
    machine = examine(measure=measure)
    console = output(json)
    table = Table("", "", show_header=False, box=None)
    ready = [name for name, lacking in machine.extras.items() if not lacking]
    free = machine.free_memory_bytes
    data = {**machine.data, "free_bytes": f"{machine.data['free_bytes'] / 2**30:.0f} GiB free"}
    rows = {
        "versions": machine.versions,
        "packages": {name: version or "missing" for name, version in machine.packages.items()},
        "extras": {
            "installed": " ".join(ready) or "none",
            **{name: f"needs {' '.join(lacking)}" for name, lacking in machine.extras.items() if lacking},
        },
        "processor": machine.processor,
        "devices": {"CUDA": ", ".join(machine.devices) or "none"},
        "memory": {"free": "not known" if free is None else f"{free / 2**30:.1f} GiB"},
        "data": {
            name: " ".join(value) if isinstance(value, list) else value
            for name, value in data.items()
            if value is not None
        },
        "milliseconds": machine.milliseconds,
    }
    for name, values in rows.items():
        if values:
            table.add_row(name, "; ".join(f"{key} {value}" for key, value in values.items()))
    console.print(table)
    for each in machine.advice:
        console.print(f"- {each.what}: {each.mend}", soft_wrap=True)
    if not machine.advice:
        console.print("nothing to mend")
    if json:
        emit_json(asdict(machine))
