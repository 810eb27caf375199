"""The table of methods: what each is made of."""

from __future__ import annotations

from gclrec.contrast import SSL
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS

METHOD_COLUMNS = ("method", "views", "encoder", "loss", "negatives", "ssl", "source")


def method_rows() -> list[dict[str, str]]:
    """Return one row a method, with the keys of ``METHOD_COLUMNS``; ``-`` where one does not apply."""
    rows = []
    for name, method in METHODS.items():
        config = TrainConfig(**method.settings)
        row = dict.fromkeys(METHOD_COLUMNS, "-") | {"method": name, "source": method.source}
        if config.baseline is None:
            row |= {room: config.chosen(room) for room in ("encoder", "loss", "negatives")}
            if config.contrasts:
                row |= {"ssl": config.ssl, "views": config.aug if SSL[config.ssl].views else "-"}
        rows.append(row)
    return rows
