"""Every setting of a training run, typed once: flags, TOML files and ``--help`` are read off this class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Group, Parameter

from gclrec.baselines import BASELINES
from gclrec.common.errors import InputError, flag
from gclrec.common.schedules import SCHEDULES
from gclrec.contrast import SSL
from gclrec.contrast.cl4srec import HISTORY_VIEWS
from gclrec.contrast.features import FEATURE_VIEWS
from gclrec.contrast.neighbours import FORMS
from gclrec.data.splits import SPLITS
from gclrec.encoders import ENCODERS, HISTORIES, LAYER_WEIGHTS, REFINERS
from gclrec.evaluation.metrics import METRICS
from gclrec.losses.ranking_losses import LOSSES
from gclrec.negatives.registry import NEGATIVES
from gclrec.settings.validation import check, method_settings, options
from gclrec.views.views import VIEWS, parse_augmentations

__all__ = ["TrainConfig", "flag", "method_settings"]

DATA = Group("Data", sort_key=1)
MODEL = Group("Model", sort_key=2)
LOSS = Group("Loss", sort_key=3)
CONTRAST = Group("Contrast", sort_key=4)
TRAINING = Group("Training", sort_key=5)
EVALUATION = Group("Evaluation", sort_key=6)


RETIRED: Mapping[str, Any] = {
    "mixed_share": None,
    "head_dim": None,
    "cluster_every": 1,
    "nearest_form": "in",
    "ssl_batch": "catalogue",
}
"""Former settings with their default, the only value that a run folder may hold of them."""


@Parameter(name="*", negative=())
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of a training run. Immutable; :meth:`checked` says what is out of range."""

    dataset: Annotated[str, Parameter(group=DATA)] = "synthetic"
    """Catalogue name (see `gclrec data list`), or a file or folder of interactions."""
    user_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column with user ids, where it cannot be guessed."""
    item_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column with item ids."""
    time_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column with timestamps."""
    weight_column: Annotated[str | None, Parameter(group=DATA)] = None
    """Column with ratings or other weights."""
    format: Annotated[str, Parameter(group=DATA)] = "auto"
    """File format, where it is not recognised by suffix or content."""
    test_file: Annotated[str | None, Parameter(group=DATA)] = None
    """File of a published test part, beside a file of training pairs."""
    valid_file: Annotated[str | None, Parameter(group=DATA)] = None
    """File of a published validation part."""
    user_attributes: Annotated[str | None, Parameter(group=DATA)] = None
    """File of user attributes. Default: those of the data set, where it has any."""
    item_attributes: Annotated[str | None, Parameter(group=DATA)] = None
    """File of item attributes. Default: those of the data set, where it has any."""
    attribute_min_count: Annotated[int, Parameter(group=DATA)] = 2
    """Users (or items) that must have an attribute value for it to be known; rarer ones read as missing."""
    min_rating: Annotated[float | None, Parameter(group=DATA)] = None
    """Keep interactions with at least this rating."""
    k_core: Annotated[int | None, Parameter(group=DATA)] = None
    """Keep users and items with at least this many interactions, to a fixed point."""
    split: Annotated[
        str | None, Parameter(group=DATA, help=f"One of {options(SPLITS)}. Default: the data set's own.")
    ] = None
    valid_share: Annotated[float, Parameter(group=DATA)] = 0.1
    """Share held out for validation, on which the best epoch is chosen; with 0 the last epoch stands."""
    test_share: Annotated[float, Parameter(group=DATA)] = 0.2
    """Share held out for the test, which is read once; 0, with --refit, trains on all the data."""
    cold_share: Annotated[float, Parameter(group=DATA)] = 0.2
    """Share of items (or users) made cold by the cold splits."""
    shots: Annotated[int, Parameter(group=DATA)] = 0
    """Training interactions that a cold item (or user) keeps; above 0 they are near-cold."""
    train_fraction: Annotated[float, Parameter(group=DATA)] = 1.0
    """Share of the training interactions to train on (sparsity study)."""
    split_seed: Annotated[int | None, Parameter(group=DATA, help="Seed of the split. Default: --seed.")] = (
        None
    )

    baseline: Annotated[
        str | None,
        Parameter(
            group=MODEL,
            help=f"Fit one of {options(BASELINES)} instead of training an encoder. Default: train one.",
        ),
    ] = None
    neighbours: Annotated[int, Parameter(group=MODEL)] = 200
    """Nearest items that item_knn keeps of each item."""
    shrink: Annotated[float, Parameter(group=MODEL)] = 100.0
    """Added to the denominator of item_knn's cosine, against items with few shared users."""
    rank: Annotated[int, Parameter(group=MODEL)] = 256
    """Singular vectors of gf_cf's low-pass filter (pure_svd takes --dim)."""
    low_pass: Annotated[float, Parameter(group=MODEL)] = 0.3
    """Weight of gf_cf's low-pass filter, beside 1 for its linear filter."""
    encoder: Annotated[str, Parameter(group=MODEL, help=f"One of {options(ENCODERS)}.")] = "lightgcn"
    dim: Annotated[int, Parameter(group=MODEL)] = 64
    """Length of an embedding."""
    num_layers: Annotated[int, Parameter(group=MODEL)] = 3
    """Propagation steps."""
    layer_weights: Annotated[str, Parameter(group=MODEL, help=f"One of {options(LAYER_WEIGHTS)}.")] = "mean"
    degree_exponent: Annotated[float, Parameter(group=MODEL)] = 0.5
    """Exponent a of lightgcn's edge weights (d_u d_i)^-a; below the paper's 0.5 popular nodes spread more."""
    user_vectors: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What a user of lightgcn is before the first layer: free, a vector of its own; items, what "
            "its items make of it (fewer parameters, cheaper steps).",
        ),
    ] = "free"
    init: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="Start of the free vectors: normal; xavier (normal, short); spectral (singular directions "
            "of the graph, in seconds).",
        ),
    ] = "normal"
    attributes: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What attributes do: none leaves them aside, input adds them to the ids before the first "
            "layer, nodes makes each of their values a node of the graph.",
        ),
    ] = "none"
    refiner: Annotated[
        str, Parameter(group=MODEL, help=f"How two_tower sees fields in context: {options(REFINERS)}.")
    ] = "none"
    tower_layers: Annotated[int, Parameter(group=MODEL)] = 2
    """Layers of two_tower's perceptron; 0 adds the fields up."""
    history: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What two_tower makes of the items a user took last: none leaves them aside; "
            f"{options(HISTORIES)}.",
        ),
    ] = "none"
    history_length: Annotated[int, Parameter(group=MODEL)] = 20
    """Items of a history, at most: the newest ones."""
    id_dropout: Annotated[float, Parameter(group=MODEL)] = 0.0
    """Probability that a node with attributes is trained as a cold one: without its id and interactions."""
    init_std: Annotated[float, Parameter(group=MODEL)] = 0.1
    """Standard deviation of the normal start."""
    score: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What items are ranked by, in evaluation, index and recommendations: dot (inner product); "
            "cosine (the vectors are written at unit length); calibrated (cosine times the item's length "
            "to a power that validation chooses).",
        ),
    ] = "dot"

    loss: Annotated[str, Parameter(group=LOSS, help=f"One of {options(LOSSES)}.")] = "bpr"
    loss_score: Annotated[
        str | None,
        Parameter(
            group=LOSS, help="What the loss compares by, dot or cosine. Default: dot for bpr, else cosine."
        ),
    ] = None
    loss_temperature: Annotated[
        float | str,
        Parameter(
            group=LOSS,
            help="Temperature of softmax and bsl: a number; learned[:START] (softmax), trained with the "
            "rest; or adaptive[:START] (softmax, bsl), one for each user, found anew at each epoch.",
        ),
    ] = 0.1
    loss_power: Annotated[float, Parameter(group=LOSS)] = 1.1
    """Power of bsl's sum over negatives (its second temperature); 1 weighs both sides alike."""
    loss_margin: Annotated[float, Parameter(group=LOSS)] = 0.4
    """Cosine above which ccl pushes a negative away."""
    negative_weight: Annotated[float, Parameter(group=LOSS)] = 10.0
    """Weight of ccl's mean over negatives, beside 1 for the positive."""
    uniformity_weight: Annotated[float, Parameter(group=LOSS)] = 1.0
    """Weight of directau's uniformity, beside 1 for its alignment."""
    negatives: Annotated[
        str, Parameter(group=LOSS, help=f"One of {options(NEGATIVES)}; directau takes none.")
    ] = "uniform"
    num_negatives: Annotated[
        int | None,
        Parameter(
            group=LOSS,
            help="Negatives of a pair (uniform, popularity, exposed; default 1) or drawn for a whole batch "
            "(shared; default 1024; mixed: uniform ones, default as many as the batch has pairs).",
        ),
    ] = None
    exposed: Annotated[
        str | None,
        Parameter(
            group=LOSS,
            help="File of pairs that were shown and not clicked, for exposed negatives; raw ids, columns "
            "named as in the data.",
        ),
    ] = None
    exposed_share: Annotated[
        float | None,
        Parameter(
            group=LOSS,
            help="Share of shown pairs in exposed negatives, beside uniform ones. Default 0.5.",
        ),
    ] = None
    queue_size: Annotated[int, Parameter(group=LOSS)] = 4096
    """Training pairs whose items queue negatives keep; keys in each of moco's queues."""
    popularity_alpha: Annotated[float, Parameter(group=LOSS)] = 0.75
    """Exponent of the item degree in popularity negatives."""
    logq: Annotated[bool, Parameter(group=LOSS)] = False
    """Correct softmax and bsl for how often a negative is drawn, so that they aim at the whole catalogue."""

    aug: Annotated[
        str,
        Parameter(
            group=CONTRAST,
            help=f"How views are made: names from {options(VIEWS)}. NAME:P sets a strength; A+B applies "
            "both in sequence; A,B makes a different one for each view; none is training without contrast.",
        ),
    ] = "edge_drop"
    aug_p: Annotated[float, Parameter(group=CONTRAST)] = 0.1
    """Strength of every augmentation that names none: mostly the share that is dropped."""
    views_every: Annotated[str, Parameter(group=CONTRAST)] = "batch"
    """Draw fresh views for every batch or epoch."""
    ssl: Annotated[
        str,
        Parameter(
            group=CONTRAST,
            help="What is contrasted: "
            + "; ".join(f"{name} is {kind.about}" for name, kind in SSL.items())
            + ".",
        ),
    ] = "infonce"
    ssl_layer: Annotated[
        int | None,
        Parameter(
            group=CONTRAST,
            help="Layer that cross_layer (default 1) or ncl (an even one, default 2) contrasts with; "
            "0 is the input.",
        ),
    ] = None
    ssl_weight: Annotated[float, Parameter(group=CONTRAST)] = 0.02
    """Weight of the contrastive loss, beside 1 for the ranking loss (both are means)."""
    temperature: Annotated[
        float | str,
        Parameter(
            group=CONTRAST,
            help="Temperature of the contrastive loss: a number, or learned[:START], trained with the rest.",
        ),
    ] = 0.2
    ssl_negatives: Annotated[str, Parameter(group=CONTRAST)] = "batch"
    """What infonce compares a node with: batch is the batch's other nodes, all is all others."""
    head_layers: Annotated[int, Parameter(group=CONTRAST)] = 0
    """Layers of a projection head (0 to 3) whose output infonce compares and nothing else sees."""
    momentum: Annotated[float, Parameter(group=CONTRAST)] = 0.99
    """Share of itself that the twin of moco, or the target of byol, keeps when it follows the encoder."""
    num_prototypes: Annotated[int, Parameter(group=CONTRAST)] = 100
    """Clusters of users, and as many of items, of swav and concat."""
    clusters: Annotated[int, Parameter(group=CONTRAST)] = 1000
    """Prototypes that ncl makes of each side by k-means, at most a quarter of its nodes."""
    cluster_after: Annotated[int, Parameter(group=CONTRAST)] = 5
    """Epochs before ncl first makes prototypes."""
    prototype_weight: Annotated[float, Parameter(group=CONTRAST)] = 0.1
    """Weight of ncl's prototypes, beside 1 for its layers."""
    item_weight: Annotated[float, Parameter(group=CONTRAST)] = 1.0
    """Weight of ncl's layers of items, beside 1 for those of users."""
    ssl_target: Annotated[
        str,
        Parameter(
            group=CONTRAST,
            help="Targets of byol: momentum (a slow twin of the encoder, BUIR) or history (what was last "
            "seen of a node, SelfCF).",
        ),
    ] = "momentum"
    neighbour_form: Annotated[
        str,
        Parameter(group=CONTRAST, help=f"What neighbour compares a pair with, as in {options(FORMS)}."),
    ] = "egcf"
    nearest: Annotated[int, Parameter(group=CONTRAST)] = 5
    """Nearest users and items of each, of which nearest draws one."""
    feature_views: Annotated[
        str, Parameter(group=CONTRAST, help=f"How features sees fields twice: {options(FEATURE_VIEWS)}.")
    ] = "dropout"
    feature_drop: Annotated[float, Parameter(group=CONTRAST)] = 0.1
    """Share of values (and, for dropout, of fields with one value) that views of features drop."""
    ssl_sides: Annotated[str, Parameter(group=CONTRAST)] = "items"
    """Whose fields features contrasts: items, users or both."""
    history_views: Annotated[
        str,
        Parameter(
            group=CONTRAST,
            help=f"How histories change a history: names from {options(HISTORY_VIEWS)}, "
            "with commas between them; each user gets one of them at random.",
        ),
    ] = "history_crop,history_mask"
    history_drop: Annotated[float, Parameter(group=CONTRAST)] = 0.4
    """Share of a history that views of histories cut off, hide or shuffle."""

    epochs: Annotated[int, Parameter(group=TRAINING)] = 30
    """Passes over the training pairs, at most."""
    batch_size: Annotated[int, Parameter(group=TRAINING)] = 2048
    """Training pairs in a batch."""
    learning_rate: Annotated[float, Parameter(group=TRAINING)] = 5e-3
    """Step size of Adam."""
    schedule: Annotated[
        str, Parameter(group=TRAINING, help=f"Course of the learning rate: {options(SCHEDULES)}.")
    ] = "constant"
    warmup: Annotated[float, Parameter(group=TRAINING)] = 0.0
    """Epochs in which the learning rate first rises from near 0."""
    l2_weight: Annotated[float, Parameter(group=TRAINING)] = 1e-4
    """Weight of L2 on the batch's layer-0 vectors."""
    patience: Annotated[int, Parameter(group=TRAINING)] = 0
    """Stop after this many validations without a better one; 0 never stops early."""
    refit: Annotated[bool, Parameter(group=TRAINING)] = False
    """After choosing the length, train anew on training and validation pairs together."""
    seed: Annotated[int, Parameter(group=TRAINING)] = 0
    """Seed of the start and the batches, and of the split if --split-seed is not given."""
    precision: Annotated[str, Parameter(group=TRAINING)] = "single"
    """Of the matrix products in losses and towers: single, or half, which is bfloat16."""
    device: Annotated[str, Parameter(group=TRAINING)] = "auto"
    """auto, cpu or cuda."""
    tensorboard: Annotated[bool, Parameter(group=TRAINING)] = False
    """Also write TensorBoard scalars into the run folder."""

    eval_every: Annotated[int, Parameter(group=EVALUATION)] = 1
    """Epochs between validations."""
    select: Annotated[str, Parameter(group=EVALUATION)] = "recall@20"
    """Validation figure that chooses the best epoch, METRIC@K or GROUP/METRIC@K as cold_items/recall@20."""
    ks: Annotated[tuple[int, ...], Parameter(group=EVALUATION, consume_multiple=True)] = (10, 20, 50)
    """Cut-offs of the ranked lists."""
    metrics: Annotated[
        tuple[str, ...], Parameter(group=EVALUATION, consume_multiple=True, help=f"From {options(METRICS)}.")
    ] = tuple(METRICS)
    near_cold: Annotated[int, Parameter(group=EVALUATION)] = 5
    """Users and items with 1 to this many training interactions are called near-cold."""

    def checked(self) -> TrainConfig:
        """Return the settings themselves.

        Raises:
            InputError: a setting is out of range or not a known name; the message names the flag.
        """
        check(self)
        return self

    @property
    def contrasts(self) -> bool:
        """Whether a contrast is part of the training."""
        kind = SSL[self.ssl]
        chains = parse_augmentations(self.aug, self.aug_p)
        differ = any(step.name != "none" for chain in chains for step in chain)
        return kind.make is not None and self.ssl_weight > 0 and (differ or not kind.differs)

    @property
    def selected(self) -> str:
        """The figure that chooses the best epoch, with its group."""
        return self.select if "/" in self.select else f"all/{self.select}"

    def loss_settings(self) -> dict[str, Any]:
        """Return the keyword arguments of the main loss."""
        loss = LOSSES[self.loss]
        values = {name: getattr(self, source) for name, source in loss.settings.items()}
        return {name: loss.scores[0] if value is None else value for name, value in values.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values; what is ``None`` is left out, as in a TOML file."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> TrainConfig:
        """Return settings from plain values, such as a run's ``config.toml``.

        Raises:
            InputError: a name is unknown or a value has the wrong type; ``source`` is named.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        clean: dict[str, Any] = {}
        for name, value in values.items():
            if name in RETIRED:
                if value != RETIRED[name]:
                    raise InputError(f"{source}: {name} is no longer a setting, got {value!r}")
                continue
            if name not in fields:
                raise InputError(f"{source}: unknown setting {name!r}")
            default = fields[name].default
            clean[name] = tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value
        try:
            return cls(**clean).checked()
        except TypeError as error:
            raise InputError(f"{source}: a setting has the wrong type ({error})") from error
