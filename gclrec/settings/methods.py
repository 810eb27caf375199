"""Methods: published models as named sets of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gclrec.common.declaration import Span
from gclrec.common.errors import InputError


@dataclass(frozen=True)
class Method:
    """One entry of :data:`METHODS`: encoder, loss, negatives, views and contrast of a paper.

    Optimiser settings (learning rate, epochs, L2) stay at gclrec's defaults, whatever the paper's are, but
    for those of gclrec's own recipes. The batch size is the paper's where the batch itself is what a pair is
    compared with.

    Args:
        settings: values for the training settings of the same name; flags and TOML files override them.
        source: the paper, with its link.
        space: where to look for settings that are good elsewhere than their declared span, or have none.
    """

    settings: Mapping[str, str | int | float | bool]
    source: str
    space: Mapping[str, Span] = field(default_factory=dict)


_SGL = (
    "nodes of the batch as negatives; the paper has all nodes (ssl_negatives all). "
    "Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783"
)

METHODS: Mapping[str, Method] = {
    "gcl": Method(
        {
            "encoder": "lightgcn",
            "num_layers": 3,
            "degree_exponent": 0.3,
            "init": "spectral",
            "loss": "softmax",
            "loss_temperature": 0.15,
            "negatives": "shared",
            "num_negatives": 4096,
            "score": "calibrated",
            "aug": "noise:0.1",
            "ssl": "cross_layer",
            "ssl_weight": 0.05,
            "temperature": 0.2,
            "learning_rate": 0.02,
            "schedule": "cosine",
            "epochs": 10,
            "l2_weight": 0.0,
        },
        "gclrec's own recipe, in docs/results.md: XSimGCL's contrast beside a softmax of cosines, as in "
        "Wu et al., TOIS 2024, https://arxiv.org/abs/2201.02327",
    ),
    "gcl_sparse": Method(
        {
            "encoder": "lightgcn",
            "num_layers": 2,
            "layer_weights": "mean_without_0",
            "user_vectors": "items",
            "init_std": 0.2,
            "score": "calibrated",
            "aug": "none",
            "ssl": "neighbour",
            "neighbour_form": "unseen",
            "ssl_weight": 0.3,
            "temperature": 0.08,
            "learning_rate": 0.02,
            "schedule": "cosine",
            "epochs": 4,
        },
        "gclrec's own recipe for large sparse data, in docs/results.md: a LightGCN without vectors of users, "
        "BPR and a softmax of cosines against unseen items of the batch; EGCF (Zhang et al., TOIS 2025) "
        "and Yeh et al., ECCV 2022, https://arxiv.org/abs/2110.06848",
    ),
    "mf": Method(
        {"encoder": "mf", "aug": "none"},
        "Rendle et al., UAI 2009, https://arxiv.org/abs/1205.2618",
    ),
    "lightgcn": Method(
        {"encoder": "lightgcn", "aug": "none"},
        "He et al., SIGIR 2020, https://arxiv.org/abs/2002.02126",
    ),
    "sgl": Method(
        {"encoder": "lightgcn", "aug": "edge_drop:0.1", "ssl_weight": 0.1, "temperature": 0.2},
        _SGL,
    ),
    "sgl_nd": Method(
        {"encoder": "lightgcn", "aug": "node_drop:0.1", "ssl_weight": 0.1, "temperature": 0.2},
        _SGL,
    ),
    "sgl_rw": Method(
        {"encoder": "lightgcn", "aug": "layer_edge_drop:0.1", "ssl_weight": 0.1, "temperature": 0.2},
        _SGL,
    ),
    "simgcl": Method(
        {
            "encoder": "lightgcn",
            "layer_weights": "mean_without_0",
            "aug": "noise:0.1",
            "ssl_weight": 0.5,
            "temperature": 0.2,
        },
        "Yu et al., SIGIR 2022, https://arxiv.org/abs/2112.08679",
    ),
    "xsimgcl": Method(
        {
            "encoder": "lightgcn",
            "layer_weights": "mean_without_0",
            "aug": "noise:0.2",
            "ssl": "cross_layer",
            "ssl_layer": 1,
            "ssl_weight": 0.2,
            "temperature": 0.15,
        },
        "Yu et al., TKDE 2023, https://arxiv.org/abs/2209.02544",
    ),
    "simclr": Method(
        {
            "encoder": "lightgcn",
            "aug": "edge_drop:0.1",
            "ssl": "infonce",
            "head_layers": 2,
            "ssl_weight": 0.05,
            "temperature": 0.5,
        },
        "head of the paper, views of SGL; weight and temperature are gclrec's choice. "
        "Chen et al., ICML 2020, https://arxiv.org/abs/2002.05709",
    ),
    "graphcl": Method(
        {
            "encoder": "lightgcn",
            "aug": "edge_perturb:0.2",
            "ssl": "infonce",
            "head_layers": 2,
            "ssl_weight": 0.05,
            "temperature": 0.5,
        },
        "strength of the paper, head and temperature of its code; the weight is gclrec's choice. "
        "You et al., NeurIPS 2020, https://arxiv.org/abs/2010.13902",
    ),
    "moco": Method(
        {
            "encoder": "lightgcn",
            "aug": "edge_drop:0.1",
            "ssl": "moco",
            "momentum": 0.99,
            "queue_size": 4096,
            "ssl_weight": 0.02,
            "temperature": 0.2,
        },
        "made for runs of thousands of steps; the paper has momentum 0.999, queue 65536, temperature 0.07. "
        "He et al., CVPR 2020, https://arxiv.org/abs/1911.05722",
    ),
    "swav": Method(
        {
            "encoder": "lightgcn",
            "aug": "edge_drop:0.1",
            "ssl": "swav",
            "num_prototypes": 100,
            "ssl_weight": 0.02,
            "temperature": 0.1,
        },
        "temperature of the paper, which has 3000 prototypes and no ranking loss. "
        "Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882",
    ),
    "concat": Method(
        {
            "encoder": "lightgcn",
            "aug": "none",
            "ssl": "concat",
            "num_prototypes": 100,
            "ssl_weight": 0.1,
            "temperature": 0.2,
        },
        "SwAV between user and item; all settings are gclrec's choice. "
        "Caron et al., NeurIPS 2020, https://arxiv.org/abs/2006.09882",
    ),
    "two_tower": Method(
        {
            "encoder": "mf",
            "aug": "none",
            "loss": "softmax",
            "loss_temperature": 0.1,
            "negatives": "in_batch",
            "logq": True,
            "score": "cosine",
        },
        "id-only; the temperature is gclrec's choice. Yi et al., RecSys 2019, "
        "https://doi.org/10.1145/3298689.3346996",
    ),
    "bsl_lightgcn": Method(
        {
            "encoder": "lightgcn",
            "num_layers": 1,
            "aug": "none",
            "loss": "bsl",
            "loss_temperature": 0.15,
            "loss_power": 1.1,
            "negatives": "shared",
            "num_negatives": 800,
            "score": "cosine",
        },
        "as for gowalla and ml-1m, but 800 negatives of a batch instead of a pair. "
        "Wu et al., ICDE 2024, https://arxiv.org/abs/2312.12882",
    ),
    "ccl": Method(
        {
            "encoder": "mf",
            "aug": "none",
            "loss": "ccl",
            "loss_margin": 0.9,
            "negative_weight": 150.0,
            "negatives": "shared",
            "num_negatives": 800,
            "score": "cosine",
        },
        "MF-CCL as for gowalla and yelp2018, but 800 negatives of a batch instead of a pair. "
        "Mao et al., CIKM 2021, https://arxiv.org/abs/2109.12613",
    ),
    "directau": Method(
        {
            "encoder": "mf",
            "aug": "none",
            "loss": "directau",
            "uniformity_weight": 1.0,
            "batch_size": 1024,
        },
        "as for yelp2018 (gowalla: 5). Wang et al., KDD 2022, https://arxiv.org/abs/2206.12811",
    ),
    "lightgcl": Method(
        {"encoder": "lightgcn", "aug": "svd:5,none", "ssl_weight": 0.02, "temperature": 0.2},
        "cosine and negatives of the batch, where the paper takes the inner product and all nodes; its "
        "weight of 0.2 is for those. "
        "Cai et al., ICLR 2023, https://arxiv.org/abs/2302.08191",
    ),
    "ncl": Method(
        {
            "encoder": "lightgcn",
            "aug": "none",
            "ssl": "ncl",
            "ssl_layer": 2,
            "ssl_weight": 0.004,
            "temperature": 0.05,
            "item_weight": 1.5,
            "prototype_weight": 0.1,
            "clusters": 2000,
            "cluster_after": 5,
        },
        "as for yelp, but prototypes after 5 epochs instead of 20. "
        "Lin et al., WWW 2022, https://arxiv.org/abs/2202.06200",
    ),
    "buir": Method(
        {
            "encoder": "lightgcn",
            "aug": "edge_drop:0.1",
            "loss": "none",
            "ssl": "byol",
            "ssl_target": "momentum",
            "momentum": 0.995,
            "ssl_weight": 1.0,
        },
        "BUIR-NB. Lee et al., SIGIR 2021, https://arxiv.org/abs/2105.06323",
    ),
    "selfcf": Method(
        {
            "encoder": "lightgcn",
            "aug": "none",
            "loss": "none",
            "ssl": "byol",
            "ssl_target": "history",
            "momentum": 0.05,
            "ssl_weight": 0.25,
        },
        "SelfCF-he. Zhou et al., TORS 2023, https://arxiv.org/abs/2107.03019",
        {"momentum": Span(0.0, 0.5)},
    ),
    "nescl": Method(
        {
            "encoder": "lightgcn",
            "aug": "node_drop:0.3",
            "ssl": "nearest",
            "nearest": 5,
            "ssl_weight": 0.05,
            "temperature": 0.1,
            "batch_size": 4096,
        },
        "as for gowalla. Sun et al., TKDE 2023, https://arxiv.org/abs/2402.11523",
    ),
    "egcf": Method(
        {
            "encoder": "egcf",
            "num_layers": 3,
            "aug": "none",
            "ssl": "neighbour",
            "neighbour_form": "egcf",
            "ssl_weight": 0.1,
            "temperature": 0.1,
        },
        "as for yelp2018. Zhang et al., TOIS 2025, https://doi.org/10.1145/3701230",
    ),
    "lightccf": Method(
        {
            "encoder": "lightgcn",
            "aug": "none",
            "ssl": "neighbour",
            "neighbour_form": "lightccf",
            "ssl_weight": 5.0,
            "temperature": 0.22,
            "batch_size": 4096,
        },
        "as for amazon-book. Zhang et al., SIGIR 2025, https://arxiv.org/abs/2504.10113",
    ),
    "popularity": Method(
        {"baseline": "popularity"},
        "Cremonesi et al. (TopPop), RecSys 2010, https://doi.org/10.1145/1864708.1864721",
    ),
    "item_knn": Method(
        {"baseline": "item_knn", "neighbours": 200, "shrink": 100.0},
        "Sarwar et al., WWW 2001, https://doi.org/10.1145/371920.372071",
    ),
    "content_knn": Method(
        {"baseline": "content_knn"},
        "Salton and Buckley (TF-IDF cosine), IPM 1988, https://doi.org/10.1016/0306-4573(88)90021-0",
    ),
    "pure_svd": Method(
        {"baseline": "pure_svd"},
        "Cremonesi et al., RecSys 2010, https://doi.org/10.1145/1864708.1864721",
    ),
    "gf_cf": Method(
        {"baseline": "gf_cf", "rank": 256, "low_pass": 0.3},
        "Shen et al., CIKM 2021, https://arxiv.org/abs/2108.07567",
    ),
}
"""Published models, the honest baselines among them, by the name that ``--method`` takes."""


def method_settings(name: str) -> Mapping[str, Any]:
    """Return the settings of a named method.

    Raises:
        InputError: there is no such method; the message lists those there are.
    """
    if name not in METHODS:
        raise InputError(f"--method: {name!r} is not one of {', '.join(METHODS)}")
    return METHODS[name].settings
