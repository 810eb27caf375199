"""Write docs/methods.md from the table of methods: ``python scripts/methods_page.py``."""

from __future__ import annotations

from pathlib import Path

from gclrec.settings.methods_table import methods_page

if __name__ == "__main__":
    path = Path(__file__).parent.parent / "docs" / "methods.md"
    path.write_text(methods_page(), encoding="utf-8")
    print(path)
