"""Every choice of every flag of ``gclrec train``, and what it refuses."""

from __future__ import annotations

from gclrec.baselines import BASELINES
from gclrec.common.schedules import SCHEDULES
from gclrec.contrast import SSL
from gclrec.contrast.byol import TARGETS
from gclrec.contrast.cl4srec import HISTORY_VIEWS
from gclrec.contrast.features import FEATURE_VIEWS, SSL_SIDES
from gclrec.contrast.neighbours import FORMS
from gclrec.contrast.two_views import NEGATIVE_NODES
from gclrec.data.splits import SPLITS
from gclrec.encoders import ATTRIBUTE_USES, CONVOLUTIONS, ENCODERS, HISTORIES, LAYER_WEIGHTS, MAP, REFINERS
from gclrec.encoders.init import STARTS
from gclrec.evaluation.metrics import METRICS
from gclrec.evaluation.scoring import SCORINGS
from gclrec.losses.ranking_losses import LOSSES
from gclrec.negatives.registry import NEGATIVES
from gclrec.settings.config import GOALS
from gclrec.settings.methods import METHODS
from gclrec.views.views import VIEWS

SHOWN = "SHOWN"
"""Stands for a file of pairs that were shown and not clicked."""


def drawing(name: str) -> tuple[str, ...]:
    """Return the flags of a kind of negatives, with what it cannot do without."""
    return ("--negatives", name, *(("--exposed", SHOWN) if name == "exposed" else ()))


SIDES = {
    "items": ("--item-attributes", "ITEMS"),
    "users": ("--user-attributes", "USERS", "--group-fields", "taste"),
}
ITEMS_FOR = {
    **{name: SIDES["items"] for name, method in METHODS.items() if "attributes" in method.settings},
    **{name: SIDES[entry.attributes_of] for name, entry in BASELINES.items() if entry.attributes_of},
}
"""What a method needs besides its name; ITEMS and USERS stand for files of attributes."""

WITH_ITEMS = ("--item-attributes", "ITEMS", "--attributes", "input")
FEATURES = ("--ssl", "features", *WITH_ITEMS)
TOWERS = ("--encoder", "two_tower", *WITH_ITEMS)
ATTENTION = ("--encoder", "two_tower", "--history", "attention")


def needs(ssl: str) -> tuple[str, ...]:
    """Return the flags that a kind of contrast cannot do without."""
    if SSL[ssl].takes_attributes:
        return WITH_ITEMS[:2]
    if "histories" in ssl:
        return (*ATTENTION, *(WITH_ITEMS if "features" in ssl else ()))
    return WITH_ITEMS if "features" in ssl else ()


SUMS = (
    "infonce+features",
    "cross_layer+features:0.5",
    "infonce+content",
    "infonce+features+histories:0.3",
    "features+histories",
    "infonce+swav:0.2+neighbour",
    "concat+moco",
)
PROJECTED = ("moco", "swav", "concat", "byol", "ncl", "content", "infonce+swav")

CHOICES = [
    *(("--encoder", name, *(WITH_ITEMS if name == "two_tower" else ())) for name in ENCODERS),
    *((*TOWERS, "--refiner", name, "--id-dropout", 0.2) for name in REFINERS),
    *((*TOWERS, "--user-attributes", "USERS", "--tower-layers", layers) for layers in (0, 1, 3)),
    (*TOWERS, "--aug", "feature_mask:0.3", "--score", "cosine"),
    *((*TOWERS, "--history", name, "--history-length", 5) for name in HISTORIES),
    *(("--encoder", "two_tower", "--history", name, "--id-dropout", 0.3) for name in HISTORIES),
    (*ATTENTION, "--user-attributes", "USERS", "--attributes", "input", "--ssl", "histories", "--refit"),
    *((*ATTENTION, "--ssl", "histories", "--history-views", name) for name in HISTORY_VIEWS),
    (*ATTENTION, "--ssl", "histories", "--history-views", ",".join(HISTORY_VIEWS), "--history-drop", 0.6),
    *(("--layer-weights", name) for name in LAYER_WEIGHTS),
    ("--degree-exponent", 0.3, "--aug", "layer_edge_drop+svd"),
    *(("--degree-exponent", 0.3, *WITH_ITEMS[:2], "--attributes", use) for use in (*ATTRIBUTE_USES, MAP)),
    ("--user-vectors", "items", "--layer-weights", "learned", "--aug", "layer_edge_drop+svd"),
    *(("--user-vectors", "items", *WITH_ITEMS[:2], "--attributes", use) for use in (*ATTRIBUTE_USES, MAP)),
    *(("--user-vectors", "items", "--ssl", name) for name in ("cross_layer", "ncl", "neighbour", "moco")),
    *(("--loss", name) for name in LOSSES if name != "none"),
    ("--loss", "none", "--ssl", "byol", "--aug", "none"),
    ("--loss", "none"),
    *(("--score", name) for name in SCORINGS),
    *(("--init", name) for name in STARTS),
    *(("--schedule", name, "--warmup", 0.5) for name in SCHEDULES),
    *(
        ("--precision", name, "--loss", "softmax", "--negatives", "shared")
        for name in ("single", "half", "half_propagation")
    ),
    *(
        ("--precision", "half", *flags, "--user-attributes", "USERS")
        for flags in (WITH_ITEMS, TOWERS, FEATURES)
    ),
    ("--precision", "half", *ATTENTION, "--refiner", "senet", "--ssl", "histories"),
    ("--precision", "half", "--encoder", "gat"),
    *(drawing(name) for name in NEGATIVES),
    *(
        ("--loss", loss, *drawing(name))
        for loss, entry in LOSSES.items()
        for name in NEGATIVES
        if entry.needs_negatives and (loss, name) != ("bpr", "uniform")
    ),
    *(("--loss", loss, "--loss-score", score) for loss, entry in LOSSES.items() for score in entry.scores),
    *(
        ("--loss", loss, *drawing(name), "--logq")
        for loss, entry in LOSSES.items()
        for name in NEGATIVES
        if entry.sums_exponentials
    ),
    ("--loss", "softmax", "--loss-temperature", 0.02),
    ("--loss", "bsl", "--loss-power", 0.9),
    ("--loss", "ccl", "--loss-margin", 0.8, "--negative-weight", 100),
    ("--loss", "directau", "--uniformity-weight", 2),
    ("--negatives", "uniform", "--num-negatives", 5),
    ("--negatives", "popularity", "--num-negatives", 5, "--popularity-alpha", 0.5),
    ("--negatives", "shared", "--num-negatives", 7),
    ("--negatives", "mixed", "--num-negatives", 7, "--loss", "softmax", "--aug", "none"),
    ("--negatives", "mixed", "--num-negatives", 7, "--loss", "softmax", "--logq"),
    *(
        ("--loss", "softmax", *drawing(name), "--logq", "--logq-positive")
        for name in ("in_batch", "mixed", "queue")
    ),
    (*drawing("exposed"), "--exposed-share", 0.3, "--num-negatives", 4),
    ("--negatives", "queue", "--queue-size", 40, "--loss", "softmax", "--logq"),
    *(
        ("--loss", loss, "--loss-temperature", form)
        for loss, entry in LOSSES.items()
        for name in entry.temperatures
        for form in (name, f"{name}:0.3")
    ),
    *(
        ("--ssl", ssl, "--temperature", form, *needs(ssl))
        for ssl, kind in SSL.items()
        for name in kind.temperatures
        for form in (name, f"{name}:0.5")
    ),
    *(("--method", name, *ITEMS_FOR.get(name, ())) for name in METHODS),
    *(("--baseline", name, *ITEMS_FOR.get(name, ()), "--refit") for name in BASELINES),
    *(("--item-attributes", "ITEMS", "--attributes", use) for use in (*ATTRIBUTE_USES, MAP)),
    ("--user-attributes", "USERS", "--attributes", "input", "--id-dropout", 0.3),
    ("--user-attributes", "USERS", "--item-attributes", "ITEMS", "--attributes", "input"),
    ("--item-attributes", "ITEMS", "--attributes", "nodes", "--attribute-min-count", 4),
    *(("--item-attributes", "ITEMS", "--attributes", "input", "--encoder", name) for name in CONVOLUTIONS),
    *(("--item-attributes", "ITEMS", "--attributes", "nodes", "--aug", name) for name in VIEWS),
    ("--method", "item_knn", "--neighbours", 3, "--shrink", 7.5),
    ("--method", "gf_cf", "--rank", 4, "--low-pass", 0.5),
    ("--method", "ease", "--ease-l2", 30.0),
    ("--method", "linear_map", *ITEMS_FOR["linear_map"], "--map-l2", 3.0),
    ("--method", "group_popularity", *ITEMS_FOR["group_popularity"], "--group-smoothing", 5.0),
    ("--method", "rp3beta", "--neighbours", 5, "--walk-exponent", 0.9, "--popularity-damping", 0.4),
    ("--method", "ials", "--unobserved-weight", 0.2, "--ials-l2", 0.1, "--l2-exponent", 0.5),
    ("--method", "ials", "--iterations", 2, "--start-scale", 0.3),
    ("--sample-edges", 0.5, "--aug", "edge_drop"),
    ("--micro-batch", 40),
    ("--valid-users", 9, "--test-users", 8),
    *(("--split", name) for name in SPLITS if name != "given"),
    *(("--aug", name) for name in VIEWS),
    *(("--ssl", name, *needs(name)) for name in (*SSL, *SUMS)),
    *(("--ssl", name, "--head-layers", 2, *needs(name)) for name in PROJECTED),
    *(("--ssl", name, "--prototype-queue", 40) for name in ("swav", "concat")),
    *((*FEATURES, "--feature-views", views, "--feature-drop", 0.3) for views in FEATURE_VIEWS),
    (*FEATURES, "--feature-views", "tags|price"),
    *((*FEATURES, "--user-attributes", "USERS", "--ssl-sides", sides) for sides in SSL_SIDES),
    *((*FEATURES, "--encoder", name, "--loss", "softmax") for name in ("two_tower", "sage")),
    (*FEATURES, "--feature-views", "random", "--feature-drop", 0, "--loss", "none"),
    *(
        ("--ssl", "content", *WITH_ITEMS[:2], "--content-share", share, "--content-hidden", hidden)
        for share, hidden in ((0, 7), (0.3, 0), (1, 4))
    ),
    (
        "--ssl",
        "cross_layer+content",
        *WITH_ITEMS[:2],
        "--ssl-layer",
        2,
        "--content-share",
        0.2,
        "--aug",
        "noise",
    ),
    ("--ssl", "content", *WITH_ITEMS[:2], "--user-attributes", "USERS", "--score", "calibrated", "--refit"),
    (*WITH_ITEMS, "--ssl", "cross_layer+features", "--ssl-layer", 2, "--aug", "noise:0.1"),
    ("--method", "two_tower", *TOWERS, "--refiner", "contextnet"),
    ("--ssl", "cross_layer", "--ssl-layer", 2, "--aug", "none"),
    *(
        ("--ssl", "infonce", "--ssl-negatives", name, "--head-layers", layers)
        for name in NEGATIVE_NODES
        for layers in range(4)
    ),
    ("--method", "auto"),
    ("--method", "auto", "--pilot", 0.1, "--held", "temperature", "ssl_weight"),
    ("--ssl", "moco", "--momentum", 0.9, "--queue-size", 50),
    ("--ssl", "moco", "--aug", "none", "--encoder", "mf"),
    ("--ssl", "swav", "--num-prototypes", 7),
    ("--ssl", "concat", "--num-prototypes", 7, "--aug", "none"),
    ("--ssl", "ncl", "--clusters", 4, "--cluster-after", 0, "--prototype-weight", 0.5),
    ("--ssl", "ncl", "--item-weight", 1.5),
    *(("--ssl", "byol", "--ssl-target", name, "--momentum", 0.9) for name in TARGETS),
    *(("--ssl", "neighbour", "--neighbour-form", name) for name in FORMS),
    ("--ssl", "nearest", "--nearest", 2),
    *(("--select", f"{name}@10") for name in METRICS),
    ("--select", "tail_items/ndcg@50"),
    ("--select", "cold_items/recall@10", "--split", "cold_items", "--score", "calibrated"),
    ("--views-every", "epoch"),
    ("--views-every", "batch"),
    ("--device", "auto"),
    ("--device", "cpu"),
    ("--format", "table"),
    (
        "--user-column",
        "user_id",
        "--item-column",
        "item_id",
        "--time-column",
        "timestamp",
        "--weight-column",
        "rating",
    ),
    ("--min-rating", 3, "--repeats", "last", "--quote", "none"),
    ("--item-attributes", "ITEMS", "--item-id-column", "item_id", "--attributes", "input"),
    ("--user-attributes", "USERS", "--user-id-column", "user_id", "--attributes", "input"),
    ("--k-core", 4),
    ("--valid-share", 0.2, "--test-share", 0.3),
    *(("--split", "cold_items", "--goal", name) for name in GOALS if name != "cold_users"),
    *(("--split", "cold_users", "--goal", name) for name in GOALS if name != "cold_items"),
    ("--split", "cold_items", "--cold-share", 0.4, "--shots", 2),
    ("--split", "cold_users", "--shots", 3),
    ("--train-fraction", 0.5),
    ("--init-std", 0.01),
    ("--aug", "edge_drop:0.3,none", "--ssl-weight", 0.5, "--temperature", 0.1),
    ("--aug", "edge_drop", "--ssl-weight", 0),
    ("--learning-rate", 0.01, "--l2-weight", 0),
    ("--patience", 1),
    ("--refit",),
    ("--seed", 11),
    ("--split-seed", 12),
    ("--eval-every", 2),
    ("--ks", 1, 3, "--select", "recall@3"),
    ("--metrics", "recall", "map"),
    ("--near-cold", 7),
]

BAD_FLAGS = {
    "--epochs 0": "--epochs",
    "--epochs many": "--epochs",
    "--learning-rate -1": "--learning-rate",
    "--temperature 0": "--temperature",
    "--temperature warm": "learned[:START]",
    "--temperature adaptive": "--loss-temperature",
    "--temperature learned:0": "[0.01, 10]",
    "--ssl none --temperature learned": "infonce",
    "--loss bpr --loss-temperature learned": "softmax",
    "--loss bsl --loss-temperature learned": "softmax",
    "--loss softmax --loss-score dot --loss-temperature adaptive": "cosine",
    "--negatives exposed": "--exposed",
    "--exposed shown.csv": "--exposed",
    "--negatives exposed --exposed nowhere.csv": "nowhere.csv",
    "--negatives queue --num-negatives 3": "--queue-size",
    "--queue-size 0": "--queue-size",
    "--negatives mixed --mixed-share 0.3": "--mixed-share",
    "--exposed-share 0.3": "--negatives exposed",
    "--aug edge_drip": "edge_drop",
    "--aug edge_drop:2": "edge_drop",
    "--encoder gcn": "lightgcn",
    "--attributes input": "has no attributes of users or items; give --item-attributes FILE",
    "--attributes input --item-attributes missing.csv": "missing.csv",
    "--attributes nodes --encoder sage": "try lightgcn",
    "--encoder two_tower": "two_tower needs --attributes input",
    "--encoder two_tower --attributes nodes": "try lightgcn",
    "--encoder egcf --degree-exponent 0.3": "egcf has no use for it; give --encoder lightgcn",
    "--encoder egcf --user-vectors items": "egcf has no use for it; give --encoder lightgcn",
    "--degree-exponent -0.1": "--degree-exponent",
    "--refiner senet": "two_tower",
    "--refiner sieve": "contextnet",
    "--tower-layers 1": "two_tower",
    "--tower-layers -1": "--tower-layers",
    "--id-dropout 0.1": "--id-dropout: not used without --attributes",
    "--item-attributes items.csv --attributes none": "--item-attributes: not used without --attributes",
    "--id-dropout 0.1 --attributes map": "--id-dropout: not used without --attributes input",
    "--baseline content_knn": "clicks.csv has no attributes of items; give --item-attributes FILE",
    "--encoder gat --aug svd": "svd leaves no edges",
    "--baseline luck": "item_knn",
    "--baseline group_popularity": "clicks.csv has no attributes of users; give --user-attributes FILE",
    "--neighbours 0": "--neighbours",
    "--ssl cross_layer --ssl-layer 3": "--ssl-layer",
    "--ssl byo": "cross_layer",
    "--ssl infonce+byo": "'byo' is not one of none, infonce",
    "--ssl infonce+features:lots": "NAME:WEIGHT",
    "--ssl infonce+byol": "byol ranks by vectors of its own",
    "--ssl features+content --attributes input": "content needs an encoder of ids alone",
    "--ssl neighbour --head-layers 1": "moco",
    "--ssl infonce --queue-size 64": "moco",
    "--ssl concat --aug node_drop": "no views",
    "--loss none --ssl none": "--ssl",
    "--ssl ncl --ssl-layer 1": "--ssl-layer",
    "--ssl features": "--attributes input",
    "--ssl infonce+features": "--attributes input",
    "--ssl content": "--attributes map",
    "--ssl content --attributes input --item-attributes items.csv": "--attributes map",
    "--ssl content --content-share 1.5": "--content-share",
    "--content-hidden 8": "content",
    "--ssl infonce+features --attributes input --aug none": "--ssl features",
    "--ssl cross_layer+features --attributes input --ssl-layer 4": "--ssl-layer",
    "--ssl features --aug edge_drop:0.2 --attributes input": "no views",
    "--ssl features --attributes input --feature-drop 0": "--feature-drop",
    "--ssl features --attributes input --feature-drop 1": "--feature-drop",
    "--ssl features --attributes input --feature-views some": "correlated",
    "--ssl features --attributes input --feature-views tags|": "expected fields of two views",
    "--ssl features --ssl-sides left": "both",
    "--feature-views random": "features",
    "--history mean": "give --encoder two_tower",
    "--method two_tower --history mean": "(method two_tower has encoder mf); give --encoder two_tower",
    "--encoder two_tower --history sum": "attention",
    "--encoder two_tower --history mean --history-length 0": "--history-length",
    "--history-length 5": "--history mean",
    "--ssl histories": "--encoder two_tower",
    "--ssl histories --encoder two_tower --history mean --history-views history_reorder": "changes nothing",
    "--ssl histories --encoder two_tower --history mean --history-views history_mix": "history_crop",
    "--ssl histories --encoder two_tower --history mean --history-drop 1": "--history-drop",
    "--history-drop 0.2": "histories",
    "--loss triplet": "directau",
    "--select cool_items/recall@20": "'cool_items' is not one of all, warm_users",
    "--goal tepid": "balanced",
    "--goal warm --select cold_items/recall@20": "names a group already",
    "--goal cold_users": "has no pair of cold_users",
    "--select cold_items/recall@7": "METRIC@K (or GROUP/METRIC@K)",
    "--select cold_items/recall": "METRIC@K (or GROUP/METRIC@K)",
    "--select cold_users/recall@20": "has no pair of cold_users; it has of all, warm_users",
    "--loss ccl --loss-score dot": "--loss-score",
    "--loss directau --negatives shared": "--negatives",
    "--loss bpr --logq": "softmax",
    "--pilot 0.6": "--pilot",
    "--held colour --pilot 0.1": "colour",
    "--negatives in_batch --loss softmax --logq-positive": "--logq",
    "--negatives in_batch --loss bsl --logq --logq-positive": "--loss softmax",
    "--negatives uniform --loss softmax --logq --logq-positive": "in_batch",
    "--negatives in_batch --num-negatives 3": "--batch-size",
    "--score angle": "cosine",
    "--split sideways": "leave_one_out",
    "--split given": "given",
    "--method best": "sgl",
    "--k-core 1000": "1000-core",
    "--min-rating 9": "9",
    "--user-column nobody": "nobody",
    "--config missing.toml": "missing.toml",
    "--device cuda": "CUDA",
    "--no-such-flag 3": "--no-such-flag",
    "--resume nowhere": "--resume",
}
