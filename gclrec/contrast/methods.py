"""Named bundles of settings: what a published model is, said in gclrec's own flags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One entry of :data:`METHODS`: encoder, loss, negatives, views and contrast of a paper.

    Optimiser settings (learning rate, epochs, L2) stay at gclrec's defaults, whatever the paper's are. The
    batch size is the paper's where the batch itself is what a pair is compared with.

    Args:
        settings: values for the training settings of the same name; flags and TOML files override them.
        source: the paper, with its link.
    """

    settings: Mapping[str, str | int | float | bool]
    source: str


METHODS: Mapping[str, Method] = {
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
        "Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783",
    ),
    "sgl_nd": Method(
        {"encoder": "lightgcn", "aug": "node_drop:0.1", "ssl_weight": 0.1, "temperature": 0.2},
        "Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783",
    ),
    "sgl_rw": Method(
        {"encoder": "lightgcn", "aug": "layer_edge_drop:0.1", "ssl_weight": 0.1, "temperature": 0.2},
        "Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783",
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
