"""Every setting of a training run, typed once: flags, TOML files and ``--help`` are read off this class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from cyclopts import Group, Parameter

from gclrec.baselines import BASELINES
from gclrec.contrast.methods import METHODS
from gclrec.contrast.negatives import NEGATIVES
from gclrec.contrast.ranking_losses import LOSSES, SCORES
from gclrec.contrast.ssl import SSL
from gclrec.contrast.views import VIEWS, parse_augmentations
from gclrec.data.splits import SPLITS
from gclrec.encoders import ATTRIBUTE_USES, CONVOLUTIONS, ENCODER_USES, ENCODERS, LAYER_WEIGHTS
from gclrec.errors import InputError
from gclrec.evaluation.metrics import METRICS

DATA = Group("Data", sort_key=1)
MODEL = Group("Model", sort_key=2)
LOSS = Group("Loss", sort_key=3)
CONTRAST = Group("Contrast", sort_key=4)
TRAINING = Group("Training", sort_key=5)
EVALUATION = Group("Evaluation", sort_key=6)


def _options(names: Mapping[str, object] | tuple[str, ...]) -> str:
    return ", ".join(names)


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
        str | None, Parameter(group=DATA, help=f"One of {_options(SPLITS)}. Default: the data set's own.")
    ] = None
    valid_share: Annotated[float, Parameter(group=DATA)] = 0.1
    """Share held out for validation, on which the best epoch is chosen."""
    test_share: Annotated[float, Parameter(group=DATA)] = 0.2
    """Share held out for the test, which is read once."""
    cold_share: Annotated[float, Parameter(group=DATA)] = 0.2
    """Share of items (or users) made cold by the cold splits."""
    shots: Annotated[int, Parameter(group=DATA)] = 0
    """Training interactions that a cold item (or user) keeps; above 0 they are near-cold."""
    train_fraction: Annotated[float, Parameter(group=DATA)] = 1.0
    """Share of the training interactions to train on (sparsity study)."""

    baseline: Annotated[
        str | None,
        Parameter(
            group=MODEL,
            help=f"Fit one of {_options(BASELINES)} instead of training an encoder. Default: train one.",
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
    encoder: Annotated[str, Parameter(group=MODEL, help=f"One of {_options(ENCODERS)}.")] = "lightgcn"
    dim: Annotated[int, Parameter(group=MODEL)] = 64
    """Length of an embedding."""
    num_layers: Annotated[int, Parameter(group=MODEL)] = 3
    """Propagation steps."""
    layer_weights: Annotated[str, Parameter(group=MODEL, help=f"One of {_options(LAYER_WEIGHTS)}.")] = "mean"
    attributes: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What attributes do: none leaves them aside, input adds them to the ids before the first "
            "layer, nodes makes each of their values a node of the graph.",
        ),
    ] = "none"
    id_dropout: Annotated[float, Parameter(group=MODEL)] = 0.0
    """Probability that a node with attributes is trained as a cold one: without its id and interactions."""
    init_std: Annotated[float, Parameter(group=MODEL)] = 0.1
    """Standard deviation of the normal start."""
    score: Annotated[
        str,
        Parameter(
            group=MODEL,
            help="What items are ranked by, in evaluation, index and recommendations: dot (inner product) or "
            "cosine (the vectors are written at unit length).",
        ),
    ] = "dot"

    loss: Annotated[str, Parameter(group=LOSS, help=f"One of {_options(LOSSES)}.")] = "bpr"
    loss_score: Annotated[
        str | None,
        Parameter(
            group=LOSS, help="What the loss compares by, dot or cosine. Default: dot for bpr, else cosine."
        ),
    ] = None
    loss_temperature: Annotated[float, Parameter(group=LOSS)] = 0.1
    """Temperature of softmax and bsl."""
    loss_power: Annotated[float, Parameter(group=LOSS)] = 1.1
    """Power of bsl's sum over negatives (its second temperature); 1 weighs both sides alike."""
    loss_margin: Annotated[float, Parameter(group=LOSS)] = 0.4
    """Cosine above which ccl pushes a negative away."""
    negative_weight: Annotated[float, Parameter(group=LOSS)] = 10.0
    """Weight of ccl's mean over negatives, beside 1 for the positive."""
    uniformity_weight: Annotated[float, Parameter(group=LOSS)] = 1.0
    """Weight of directau's uniformity, beside 1 for its alignment."""
    negatives: Annotated[
        str, Parameter(group=LOSS, help=f"One of {_options(NEGATIVES)}; directau takes none.")
    ] = "uniform"
    num_negatives: Annotated[
        int | None,
        Parameter(
            group=LOSS,
            help="Negatives of a pair (uniform, popularity; default 1) or drawn for a whole batch "
            "(shared, mixed; default 1024).",
        ),
    ] = None
    popularity_alpha: Annotated[float, Parameter(group=LOSS)] = 0.75
    """Exponent of the item degree in popularity negatives."""
    logq: Annotated[bool, Parameter(group=LOSS)] = False
    """Correct softmax and bsl for how often a negative is drawn, so that they aim at the whole catalogue."""

    aug: Annotated[
        str,
        Parameter(
            group=CONTRAST,
            help=f"How views are made: names from {_options(VIEWS)}. NAME:P sets a strength; A+B applies "
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
            help="What is contrasted: infonce is two views of a node; "
            "cross_layer is the final embedding and one layer of a single view.",
        ),
    ] = "infonce"
    ssl_layer: Annotated[int, Parameter(group=CONTRAST)] = 1
    """Layer that cross_layer contrasts with; 0 is the input."""
    ssl_weight: Annotated[float, Parameter(group=CONTRAST)] = 0.1
    """Weight of the contrastive loss, beside 1 for the ranking loss (both are means)."""
    temperature: Annotated[float, Parameter(group=CONTRAST)] = 0.2
    """Temperature of the contrastive loss."""

    epochs: Annotated[int, Parameter(group=TRAINING)] = 30
    """Passes over the training pairs, at most."""
    batch_size: Annotated[int, Parameter(group=TRAINING)] = 2048
    """Training pairs in a batch."""
    learning_rate: Annotated[float, Parameter(group=TRAINING)] = 5e-3
    """Step size of Adam."""
    l2_weight: Annotated[float, Parameter(group=TRAINING)] = 1e-4
    """Weight of L2 on the batch's layer-0 vectors."""
    patience: Annotated[int, Parameter(group=TRAINING)] = 0
    """Stop after this many validations without a better one; 0 never stops early."""
    refit: Annotated[bool, Parameter(group=TRAINING)] = False
    """After choosing the length, train anew on training and validation pairs together."""
    seed: Annotated[int, Parameter(group=TRAINING)] = 0
    """Seed of the split, the start and the batches."""
    device: Annotated[str, Parameter(group=TRAINING)] = "auto"
    """auto, cpu or cuda."""
    tensorboard: Annotated[bool, Parameter(group=TRAINING)] = False
    """Also write TensorBoard scalars into the run folder."""

    eval_every: Annotated[int, Parameter(group=EVALUATION)] = 1
    """Epochs between validations."""
    select: Annotated[str, Parameter(group=EVALUATION)] = "recall@20"
    """Validation figure that chooses the best epoch."""
    ks: Annotated[tuple[int, ...], Parameter(group=EVALUATION, consume_multiple=True)] = (10, 20, 50)
    """Cut-offs of the ranked lists."""
    metrics: Annotated[
        tuple[str, ...], Parameter(group=EVALUATION, consume_multiple=True, help=f"From {_options(METRICS)}.")
    ] = tuple(METRICS)
    near_cold: Annotated[int, Parameter(group=EVALUATION)] = 5
    """Users and items with 1 to this many training interactions are called near-cold."""

    def checked(self) -> TrainConfig:
        """Return the settings themselves.

        Raises:
            InputError: a setting is out of range or not a known name; the message names the flag.
        """
        for name, table in (
            ("split", SPLITS),
            ("baseline", BASELINES),
            ("encoder", ENCODERS),
            ("layer_weights", LAYER_WEIGHTS),
            ("attributes", ("none", *ATTRIBUTE_USES)),
            ("loss", LOSSES),
            ("score", SCORES),
            ("loss_score", SCORES),
            ("negatives", NEGATIVES),
            ("ssl", SSL),
            ("views_every", ("batch", "epoch")),
            ("device", ("auto", "cpu", "cuda")),
        ):
            value = getattr(self, name)
            if value is not None and value not in table:
                raise InputError(f"{flag(name)}: {value!r} is not one of {_options(tuple(table))}")
        for name in self.metrics:
            if name not in METRICS:
                raise InputError(f"--metrics: {name!r} is not one of {_options(METRICS)}")
        for name, (low, high, closed) in _RANGES.items():
            value = getattr(self, name)
            if value is None:
                continue
            if not (low <= value <= high if closed else low < value < high):
                left, right = ("[", "]") if closed else ("(", ")")
                bound = (
                    f"{left}{low:g}, {high:g}{right}"
                    if high < _HUGE
                    else f"{'at least' if closed else 'above'} {low:g}"
                )
                raise InputError(
                    f"{flag(name)}: must be {'in ' if high < _HUGE else ''}{bound}, got {value!r}"
                )
        if not self.ks or min(self.ks) < 1:
            raise InputError(f"--ks: cut-offs must be at least 1, got {list(self.ks)}")
        metric, _, k = self.select.partition("@")
        if metric not in self.metrics or k not in map(str, self.ks):
            raise InputError(
                f"--select: {self.select!r} is not measured; choose METRIC@K from --metrics and --ks"
            )
        depth = 0 if self.encoder == "mf" else self.num_layers
        if self.ssl == "cross_layer" and not 0 <= self.ssl_layer <= depth:
            raise InputError(
                f"--ssl-layer: must be one of the encoder's layers 0 to {depth}, got {self.ssl_layer}"
            )
        self._check_loss()
        self._check_attributes()
        chains = parse_augmentations(self.aug, self.aug_p)
        if self.encoder in CONVOLUTIONS and any(step.name == "svd" for chain in chains for step in chain):
            raise InputError(f"--aug: svd leaves no edges, which the convolutions of {self.encoder} need")
        return self

    def _check_loss(self) -> None:
        """Refuse what would be ignored: a setting that this loss or these negatives have no use for."""
        loss = LOSSES[self.loss]
        if self.loss_score is not None and self.loss_score not in loss.scores:
            raise InputError(
                f"--loss-score: {self.loss} compares by {_options(loss.scores)}, not {self.loss_score}"
            )
        if not loss.needs_negatives and (self.negatives != "uniform" or self.num_negatives is not None):
            raise InputError(
                f"--negatives: {self.loss} takes none; leave out --negatives and --num-negatives"
            )
        if self.negatives == "in_batch" and self.num_negatives is not None:
            raise InputError(
                "--num-negatives: in_batch takes those of the batch; change --batch-size instead"
            )
        if self.logq and not loss.sums_exponentials:
            able = _options(tuple(name for name, other in LOSSES.items() if other.sums_exponentials))
            raise InputError(f"--logq: it corrects a sum of exponentials ({able}), which {self.loss} has not")

    def _check_attributes(self) -> None:
        """Refuse attributes that nothing would use, and uses that the encoder has not."""
        tables = [flag(name) for name in ("user_attributes", "item_attributes") if getattr(self, name)]
        if self.baseline is not None:
            wanted = ["--item-attributes"] if BASELINES[self.baseline].needs_attributes else []
            unused = [name for name in tables if name not in wanted]
            if unused:
                raise InputError(f"{unused[0]}: {self.baseline} makes no use of it")
            return
        if self.attributes == "none":
            unused = [*tables, *(["--id-dropout"] if self.id_dropout else [])]
            if unused:
                raise InputError(f"{unused[0]}: not used without --attributes input (or nodes)")
            return
        if self.attributes not in ENCODER_USES[self.encoder]:
            able = _options(tuple(name for name, uses in ENCODER_USES.items() if self.attributes in uses))
            found = f"{self.encoder} has no use for them as {self.attributes}"
            raise InputError(f"--attributes: {found}; try {able}")

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
            if name not in fields:
                raise InputError(f"{source}: unknown setting {name!r}")
            default = fields[name].default
            clean[name] = tuple(value) if isinstance(default, tuple) and isinstance(value, list) else value
        try:
            return cls(**clean).checked()
        except TypeError as error:
            raise InputError(f"{source}: a setting has the wrong type ({error})") from error


def flag(name: str) -> str:
    """Return the command-line spelling of a setting."""
    return "--" + name.replace("_", "-")


_HUGE = 1e18
_RANGES: Mapping[str, tuple[float, float, bool]] = {
    "valid_share": (0, 1, False),
    "test_share": (0, 1, False),
    "cold_share": (0, 1, False),
    "shots": (0, _HUGE, True),
    "train_fraction": (1e-9, 1, True),
    "attribute_min_count": (1, _HUGE, True),
    "id_dropout": (0, 0.99, True),
    "min_rating": (-_HUGE, _HUGE, True),
    "k_core": (1, _HUGE, True),
    "neighbours": (1, _HUGE, True),
    "shrink": (0, _HUGE, True),
    "rank": (1, 65536, True),
    "low_pass": (0, _HUGE, True),
    "dim": (1, 65536, True),
    "num_layers": (0, 100, True),
    "init_std": (0, _HUGE, False),
    "loss_temperature": (0, _HUGE, False),
    "loss_power": (0, _HUGE, False),
    "loss_margin": (-1, 1, True),
    "negative_weight": (0, _HUGE, True),
    "uniformity_weight": (0, _HUGE, True),
    "num_negatives": (1, _HUGE, True),
    "popularity_alpha": (0, 10, True),
    "ssl_weight": (0, _HUGE, True),
    "temperature": (0, _HUGE, False),
    "epochs": (1, _HUGE, True),
    "batch_size": (1, _HUGE, True),
    "learning_rate": (0, _HUGE, False),
    "l2_weight": (0, _HUGE, True),
    "patience": (0, _HUGE, True),
    "seed": (0, 2**63 - 1, True),
    "eval_every": (1, _HUGE, True),
    "near_cold": (1, _HUGE, True),
}
"""Range of each numeric setting: lowest, highest, and whether the ends belong to it."""


def method_settings(name: str) -> Mapping[str, Any]:
    """Return the settings of a named method.

    Raises:
        InputError: there is no such method; the message lists those there are.
    """
    if name not in METHODS:
        raise InputError(f"--method: {name!r} is not one of {_options(METHODS)}")
    return METHODS[name].settings
