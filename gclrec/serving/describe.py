"""What a run is, in figures: settings, quality by group, and the index."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gclrec import __version__
from gclrec.runs.reading import settings_of
from gclrec.serving.served import Served

_METRICS = ("recall@20", "ndcg@20")
_SETTINGS = ("method", "baseline", "dataset", "encoder", "ssl", "dim", "num_layers", "steps", "split", "seed")


def description(served: Served) -> dict[str, Any]:
    """Return version, sizes, settings, test figures by group and figures of the index, as JSON values."""
    recommender = served.recommender
    run = recommender.run
    assert run is not None  # a service loads run folders
    settings, quality = settings_of(run), recommender.index.quality
    added = recommender.added
    return {
        "gclrec": __version__,
        "run": run.name,
        "version": served.version,
        "users": len(recommender.users),
        "items": len(recommender.items),
        "added_items": 0 if added is None else len(added),
        "cold_items": int((served.catalogue.interactions == 0).sum()),
        "interactions": int(served.catalogue.interactions.sum()),
        "dim": recommender.index.dim,
        "settings": {name: settings[name] for name in _SETTINGS if name in settings},
        "attributes": [
            name for name in served.catalogue.fields.columns if name not in ("id", "interactions")
        ],
        "title": served.catalogue.title_field,
        "index": {"backend": recommender.index.backend, **({} if quality is None else asdict(quality))},
        "quality": _quality(run),
        "feedback": served.told.interactions,
        "explains": served.explains,
    }


def _quality(run: Path) -> list[dict[str, Any]]:
    """Return the test figures of each group with its number of cases."""
    path = run / "result.json"
    if not path.exists():
        return []
    result = json.loads(path.read_bytes())
    metrics, cases = result.get("metrics", {}), result.get("cases", {})
    groups: dict[str, dict[str, float]] = {}
    for name, value in metrics.items():
        part, _, rest = name.partition("/")
        group, _, metric = rest.partition("/")
        if part == "test" and metric in _METRICS and isinstance(value, float):
            groups.setdefault(group, {})[metric] = value
    return [{"group": group, "cases": cases.get(f"test/{group}"), **found} for group, found in groups.items()]
