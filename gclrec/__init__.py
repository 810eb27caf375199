"""gclrec: graph contrastive recommenders for recall.

The most used names are here. They are loaded when first used, so ``import gclrec`` is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gclrec.common.lazy import lazy

if TYPE_CHECKING:
    from gclrec.api import Run as Run
    from gclrec.api import fit as fit
    from gclrec.api import load_run as load_run
    from gclrec.api import resume as resume
    from gclrec.common.errors import InputError as InputError
    from gclrec.common.errors import InputWarning as InputWarning
    from gclrec.data.catalog.loader import load
    from gclrec.data.interactions import Vocabulary as Vocabulary
    from gclrec.encoders.egcf import EGCF as EGCF
    from gclrec.encoders.lightgcn import LightGCN as LightGCN
    from gclrec.encoders.mf import MF as MF
    from gclrec.encoders.pyg import PyGEncoder as PyGEncoder
    from gclrec.evaluation.ranking import top_k as top_k
    from gclrec.graph.bipartite import BipartiteGraph as BipartiteGraph
    from gclrec.losses.info_nce import info_nce as info_nce
    from gclrec.losses.ranking_losses import bpr as bpr
    from gclrec.recall.batch_recommender import BatchRecommender as BatchRecommender
    from gclrec.recall.build_index import build_index as build_index
    from gclrec.recall.index import Index as Index
    from gclrec.recall.recommender import Recommender as Recommender
    from gclrec.studies import compare as compare
    from gclrec.studies import tune as tune
    from gclrec.training.callbacks import StopTraining as StopTraining
    from gclrec.training.trained import load_recommender as load_recommender
    from gclrec.views.augment import augment as augment
    from gclrec.views.transform import Augment as Augment

    load_dataset = load

__version__ = "0.2.0"

__all__, __getattr__, __dir__ = lazy(
    __name__,
    {
        "gclrec.api": "Run fit load_run resume",
        "gclrec.common.errors": "InputError InputWarning",
        "gclrec.data.catalog.loader": "load_dataset:load",
        "gclrec.data.interactions": "Vocabulary",
        "gclrec.encoders.egcf": "EGCF",
        "gclrec.encoders.lightgcn": "LightGCN",
        "gclrec.encoders.mf": "MF",
        "gclrec.encoders.pyg": "PyGEncoder",
        "gclrec.evaluation.ranking": "top_k",
        "gclrec.graph.bipartite": "BipartiteGraph",
        "gclrec.losses.info_nce": "info_nce",
        "gclrec.losses.ranking_losses": "bpr",
        "gclrec.recall.batch_recommender": "BatchRecommender",
        "gclrec.recall.build_index": "build_index",
        "gclrec.recall.index": "Index",
        "gclrec.recall.recommender": "Recommender",
        "gclrec.studies": "compare tune",
        "gclrec.training.callbacks": "StopTraining",
        "gclrec.training.trained": "load_recommender",
        "gclrec.views.augment": "augment",
        "gclrec.views.transform": "Augment",
    },
)
