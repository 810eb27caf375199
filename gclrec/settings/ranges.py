"""In what range each numeric setting of a training run lies."""

from __future__ import annotations

from collections.abc import Mapping

HUGE = 1e18
"""From here on a bound is none."""

RANGES: Mapping[str, tuple[float, float, bool]] = {
    "valid_share": (0, 0.99, True),
    "test_share": (0, 0.99, True),
    "cold_share": (0, 1, False),
    "shots": (0, HUGE, True),
    "train_fraction": (1e-9, 1, True),
    "attribute_min_count": (1, HUGE, True),
    "id_dropout": (0, 0.99, True),
    "tower_layers": (0, 10, True),
    "min_rating": (-HUGE, HUGE, True),
    "k_core": (1, HUGE, True),
    "split_seed": (0, 2**63 - 1, True),
    "neighbours": (1, HUGE, True),
    "shrink": (0, HUGE, True),
    "rank": (1, 65536, True),
    "low_pass": (0, HUGE, True),
    "dim": (1, 65536, True),
    "num_layers": (0, 100, True),
    "degree_exponent": (0, 1, True),
    "init_std": (0, HUGE, False),
    "loss_power": (0, HUGE, False),
    "loss_margin": (-1, 1, True),
    "negative_weight": (0, HUGE, True),
    "uniformity_weight": (0, HUGE, True),
    "num_negatives": (1, HUGE, True),
    "popularity_alpha": (0, 10, True),
    "exposed_share": (0, 1, True),
    "queue_size": (1, 2**24, True),
    "ssl_weight": (0, HUGE, True),
    "head_layers": (0, 3, True),
    "momentum": (0, 1, True),
    "num_prototypes": (2, 65536, True),
    "clusters": (1, HUGE, True),
    "cluster_after": (0, HUGE, True),
    "prototype_weight": (0, HUGE, True),
    "item_weight": (0, HUGE, True),
    "nearest": (1, HUGE, True),
    "feature_drop": (0, 0.99, True),
    "history_length": (1, HUGE, True),
    "history_drop": (0, 1, False),
    "epochs": (1, HUGE, True),
    "batch_size": (1, HUGE, True),
    "learning_rate": (0, HUGE, False),
    "warmup": (0, HUGE, True),
    "l2_weight": (0, HUGE, True),
    "patience": (0, HUGE, True),
    "seed": (0, 2**63 - 1, True),
    "eval_every": (1, HUGE, True),
    "near_cold": (1, HUGE, True),
}
"""Range of each numeric setting: lowest, highest, and whether the ends belong to it."""
