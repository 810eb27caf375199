"""gclrec: graph contrastive recommenders for recall.

The most used names are here. They are loaded when first used, so ``import gclrec`` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.api import Run, fit, load_run, resume
    from gclrec.common.errors import InputError, InputWarning
    from gclrec.data.catalog.loader import load as load_dataset
    from gclrec.data.interactions import Vocabulary
    from gclrec.encoders.egcf import EGCF
    from gclrec.encoders.lightgcn import LightGCN
    from gclrec.encoders.mf import MF
    from gclrec.encoders.pyg import PyGEncoder
    from gclrec.evaluation.ranking import top_k
    from gclrec.graph.bipartite import BipartiteGraph
    from gclrec.losses.info_nce import info_nce
    from gclrec.losses.ranking_losses import bpr
    from gclrec.recall.build_index import build_index
    from gclrec.recall.index import Index
    from gclrec.recall.recommender import Recommender
    from gclrec.studies import compare, tune
    from gclrec.training.callbacks import StopTraining
    from gclrec.training.trained import load_recommender
    from gclrec.views.augment import augment
    from gclrec.views.transform import Augment

__version__ = "0.1.0"

__all__ = [
    "EGCF",
    "MF",
    "Augment",
    "BipartiteGraph",
    "Index",
    "InputError",
    "InputWarning",
    "LightGCN",
    "PyGEncoder",
    "Recommender",
    "Run",
    "StopTraining",
    "Vocabulary",
    "augment",
    "bpr",
    "build_index",
    "compare",
    "fit",
    "info_nce",
    "load_dataset",
    "load_recommender",
    "load_run",
    "resume",
    "top_k",
    "tune",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "Augment": "gclrec.views.transform",
        "BipartiteGraph": "gclrec.graph.bipartite",
        "EGCF": "gclrec.encoders.egcf",
        "Index": "gclrec.recall.index",
        "InputError": "gclrec.common.errors",
        "InputWarning": "gclrec.common.errors",
        "LightGCN": "gclrec.encoders.lightgcn",
        "MF": "gclrec.encoders.mf",
        "PyGEncoder": "gclrec.encoders.pyg",
        "Recommender": "gclrec.recall.recommender",
        "Run": "gclrec.api",
        "StopTraining": "gclrec.training.callbacks",
        "Vocabulary": "gclrec.data.interactions",
        "augment": "gclrec.views.augment",
        "bpr": "gclrec.losses.ranking_losses",
        "build_index": "gclrec.recall.build_index",
        "compare": "gclrec.studies",
        "fit": "gclrec.api",
        "info_nce": "gclrec.losses.info_nce",
        "load_dataset": "gclrec.data.catalog.loader:load",
        "load_recommender": "gclrec.training.trained",
        "load_run": "gclrec.api",
        "resume": "gclrec.api",
        "top_k": "gclrec.evaluation.ranking",
        "tune": "gclrec.studies",
    },
)
