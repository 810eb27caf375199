"""``python -m gclrec.train``: the same as ``gclrec train``."""

from __future__ import annotations

from gclrec.cli.signals import starting

with starting():
    from gclrec.cli.train import main

if __name__ == "__main__":
    main()
