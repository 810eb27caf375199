"""``gclrec completion``: a script that completes commands, flags and their values in a shell."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Literal

from cyclopts import Parameter

from gclrec.cli.console import command
from gclrec.settings.config import derive
from gclrec.settings.methods import METHODS

app = command("completion")


@app.default
def completion(
    shell: Annotated[Literal["bash", "zsh", "fish", "powershell"], Parameter(help="The shell.")], /
) -> None:
    """Print what makes a shell complete gclrec's commands and flags: eval "$(gclrec completion bash)".

    The script holds all names, so nothing is started when the tab key is pressed.
    """
    from gclrec.cli.commands import app as gclrec

    offered = {
        "config": derive(offer=True) | None,
        "method": Annotated[str | None, Parameter(choices=tuple(METHODS))],
    }
    plain: list[tuple[dict[str, object], dict[str, object]]] = []
    for name in ("train", "compare", "tune"):
        signature = getattr(import_module(f"gclrec.cli.{name}"), name).__annotations__
        plain.append((signature, dict(signature)))
        signature.update((key, offered[key]) for key in offered.keys() & signature.keys())
    try:
        print(gclrec.generate_completion(shell=shell))
    finally:
        for signature, before in plain:
            signature.update(before)
