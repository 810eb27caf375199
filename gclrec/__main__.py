"""``gclrec COMMAND …``: the same commands as ``python -m gclrec.COMMAND …``."""

from __future__ import annotations

from gclrec.cli.signals import starting

with starting():
    from gclrec.cli.commands import app as app
    from gclrec.cli.commands import main

if __name__ == "__main__":
    main()
