"""gclrec: graph contrastive recommenders for recall.

The names that people type most are here; they are loaded when first used, so ``import gclrec`` is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gclrec.contrast.foreign import augment
    from gclrec.contrast.losses import bpr, info_nce
    from gclrec.data.catalog import load as load_dataset
    from gclrec.encoders.lightgcn import LightGCN
    from gclrec.encoders.mf import MF
    from gclrec.errors import InputError, InputWarning
    from gclrec.graph.bipartite import BipartiteGraph
    from gclrec.recall.index import Index
    from gclrec.recall.recommender import Recommender

__version__ = "0.1.0"

_HOMES = {
    "BipartiteGraph": "gclrec.graph.bipartite",
    "Index": "gclrec.recall.index",
    "InputError": "gclrec.errors",
    "InputWarning": "gclrec.errors",
    "LightGCN": "gclrec.encoders.lightgcn",
    "MF": "gclrec.encoders.mf",
    "Recommender": "gclrec.recall.recommender",
    "augment": "gclrec.contrast.foreign",
    "bpr": "gclrec.contrast.losses",
    "info_nce": "gclrec.contrast.losses",
    "load_dataset": "gclrec.data.catalog:load",
}

__all__ = [
    "MF",
    "BipartiteGraph",
    "Index",
    "InputError",
    "InputWarning",
    "LightGCN",
    "Recommender",
    "augment",
    "bpr",
    "info_nce",
    "load_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'gclrec' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute or name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
