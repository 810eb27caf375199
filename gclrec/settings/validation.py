"""What settings cannot be together: refused with the flag, so that nothing is silently ignored."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gclrec.baselines import BASELINES
from gclrec.common.errors import InputError, InputWarning, SettingError, flag
from gclrec.contrast import SSL
from gclrec.contrast.cl4srec import parse_history_views
from gclrec.data.splits import Split
from gclrec.encoders import ENCODERS
from gclrec.evaluation.groups import ITEM_GROUPS, USER_GROUPS
from gclrec.evaluation.metrics import METRICS
from gclrec.losses.ranking_losses import LOSSES
from gclrec.losses.temperature import parse_temperature
from gclrec.negatives.registry import NEGATIVES
from gclrec.settings.methods import METHODS
from gclrec.settings.names import NAMES
from gclrec.settings.ranges import HUGE, RANGES
from gclrec.views.views import parse_augmentations

if TYPE_CHECKING:
    from gclrec.settings.config import TrainConfig

GROUPS = (*USER_GROUPS, *ITEM_GROUPS)


def options(names: Mapping[str, object] | tuple[str, ...]) -> str:
    """Return names as a list for people."""
    return ", ".join(names)


def method_settings(name: str) -> Mapping[str, Any]:
    """Return the settings of a named method.

    Raises:
        InputError: there is no such method; the message lists those there are.
    """
    if name not in METHODS:
        raise InputError(f"--method: {name!r} is not one of {options(METHODS)}")
    return METHODS[name].settings


def check(config: TrainConfig) -> None:
    """Refuse settings that are out of range, not a known name, or not used beside the others.

    Raises:
        InputError: the message names the flag.
    """
    check_choices(config)
    check_ranges(config)
    check_evaluation(config)
    check_encoder(config)
    check_loss(config)
    check_negatives(config)
    check_temperatures(config)
    check_ssl(config)
    check_attributes(config)
    if config.baseline is None and config.loss == "none" and not config.contrasts:
        raise InputError("--loss: none leaves nothing to train; choose another, or a contrast with --ssl")


def check_choices(config: TrainConfig) -> None:
    """Refuse a name that is not among those of its setting."""
    for name, names in NAMES.items():
        value = getattr(config, name)
        if value is not None and value not in names:
            raise InputError(f"{flag(name)}: {value!r} is not one of {options(tuple(names))}")
    for name in config.metrics:
        if name not in METRICS:
            raise InputError(f"--metrics: {name!r} is not one of {options(METRICS)}")


def check_ranges(config: TrainConfig) -> None:
    """Refuse a number that is out of its range."""
    for name, (low, high, closed) in RANGES.items():
        value = getattr(config, name)
        if value is None:
            continue
        if not (low <= value <= high if closed else low < value < high):
            left, right = ("[", "]") if closed else ("(", ")")
            bound = (
                f"{left}{low:g}, {high:g}{right}"
                if high < HUGE
                else f"{'at least' if closed else 'above'} {low:g}"
            )
            raise InputError(f"{flag(name)}: must be {'in ' if high < HUGE else ''}{bound}, got {value!r}")


def check_evaluation(config: TrainConfig) -> None:
    """Refuse cut-offs that are none, and a choice by what is not measured."""
    if not config.ks or min(config.ks) < 1:
        raise InputError(f"--ks: cut-offs must be at least 1, got {list(config.ks)}")
    group, _, figure = config.selected.partition("/")
    if group not in GROUPS:
        raise InputError(f"--select: {group!r} is not one of {options(tuple(GROUPS))}")
    metric, _, k = figure.partition("@")
    if metric not in config.metrics or k not in map(str, config.ks):
        how = "choose METRIC@K (or GROUP/METRIC@K) from --metrics and --ks"
        raise InputError(f"--select: {config.select!r} is not measured; {how}")


def check_selection(config: TrainConfig, split: Split) -> None:
    """Refuse a choice by a group that has no pair in the validation part.

    Raises:
        InputError: it has none; the groups that have some are named.
    """
    if len(split.valid) == 0:
        return  # there is nothing to choose by at all, which is said elsewhere
    sides = (
        (USER_GROUPS, split.train.user_degrees(), split.valid.user),
        (ITEM_GROUPS, split.train.item_degrees(), split.valid.item),
    )
    able = [
        name
        for groups, degrees, rows in sides
        for name, members in groups.items()
        if members(degrees, config.near_cold)[rows].any()
    ]
    group = config.selected.partition("/")[0]
    if group not in able:
        found = f"the validation part of split {split.name} has no pair of {group}"
        raise InputError(f"--select: {found}; it has of {options(tuple(able))}")


def check_encoder(config: TrainConfig) -> None:
    """Refuse what the encoder cannot be without, and settings of another one."""
    kind = ENCODERS[config.encoder]
    if config.num_layers < kind.least_layers:
        least = f"{config.encoder} takes at least {kind.least_layers}"
        raise InputError(f"--num-layers: {least}, got {config.num_layers}")
    chains = parse_augmentations(config.aug, config.aug_p)
    if kind.needs_edges and any(step.name == "svd" for chain in chains for step in chain):
        raise InputError(f"--aug: svd leaves no edges, which the convolutions of {config.encoder} need")
    if config.baseline is not None:
        return
    if config.encoder == "two_tower" and config.attributes == config.history == "none":
        raise InputError("--encoder: two_tower needs --attributes input or --history; of ids alone it is mf")
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name in ("refiner", "tower_layers", "history"):
        if config.encoder != "two_tower" and getattr(config, name) != defaults[name]:
            also = " (method two_tower has encoder mf)" if config.encoder == "mf" else ""
            what = f"encoder {config.encoder} has no use for it{also}"
            raise InputError(f"{flag(name)}: {what}; give --encoder two_tower")
    if config.encoder != "lightgcn" and config.degree_exponent != defaults["degree_exponent"]:
        raise InputError(f"--degree-exponent: weights edges of lightgcn only, not of {config.encoder}")
    if config.encoder != "lightgcn" and config.user_vectors != defaults["user_vectors"]:
        raise InputError(f"--user-vectors: lightgcn alone can be without them, not {config.encoder}")
    if config.history == "none" and config.history_length != defaults["history_length"]:
        raise InputError("--history-length: not used without --history mean (or attention)")


def advise_views(config: TrainConfig) -> None:
    """Say with an :class:`~gclrec.InputWarning` that views of a graph change nothing here."""
    if config.baseline is not None or not config.contrasts or ENCODERS[config.encoder].propagates:
        return
    chains = parse_augmentations(config.aug, config.aug_p)[: SSL[config.ssl].views]
    steps = {step.name for chain in chains for step in chain} - {"none"}
    if steps and not steps & {"noise", "feature_mask"}:
        why = f"{config.encoder} looks at no graph, so --aug {config.aug} changes nothing"
        warnings.warn(f"{why}; take noise, feature_mask or none", InputWarning, stacklevel=2)


def check_loss(config: TrainConfig) -> None:
    """Refuse what would be ignored: a setting that this loss or these negatives have no use for."""
    loss = LOSSES[config.loss]
    if config.loss_score is not None and config.loss_score not in loss.scores:
        able = options(loss.scores) or "nothing"
        raise InputError(f"--loss-score: {config.loss} compares by {able}, not {config.loss_score}")
    if not loss.needs_negatives and (config.negatives != "uniform" or config.num_negatives is not None):
        raise InputError(f"--negatives: {config.loss} takes none; leave out --negatives and --num-negatives")
    if config.logq and not loss.sums_exponentials:
        able = options(tuple(name for name, other in LOSSES.items() if other.sums_exponentials))
        raise InputError(f"--logq: it corrects a sum of exponentials ({able}), which {config.loss} has not")


def check_negatives(config: TrainConfig) -> None:
    """Refuse settings of other negatives than those asked for, and what contradicts itself."""
    own = NEGATIVES[config.negatives].settings.values()
    if config.num_negatives is not None and "num_negatives" not in own:
        instead = "--queue-size" if config.negatives == "queue" else "--batch-size"
        raise InputError(
            f"--num-negatives: {config.negatives} takes those of the batch; change {instead} instead"
        )
    for name in ("exposed_share",):
        if getattr(config, name) is not None and name not in own:
            raise InputError(f"{flag(name)}: is for --negatives {name.removesuffix('_share')}")
    if (config.exposed is not None) != (config.negatives == "exposed"):
        raise InputError("--exposed: a file of shown pairs and --negatives exposed need each other")
    if config.exposed_share == 1 and config.logq:
        raise InputError("--exposed-share: must be below 1 with --logq, or most items are never drawn")


def check_ssl(config: TrainConfig) -> None:
    """Refuse a setting that some contrasts take and this one would ignore."""
    if config.ssl == "none":
        return
    _check_layer(config)
    kind = SSL[config.ssl]
    used = {*kind.settings.values(), *NEGATIVES[config.negatives].settings.values()}
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for source in dict.fromkeys(source for other in SSL.values() for source in other.settings.values()):
        if source not in used and getattr(config, source) != defaults[source]:
            takers = options(tuple(name for name, k in SSL.items() if source in k.settings.values()))
            raise InputError(f"{flag(source)}: --ssl {config.ssl} has no use for it; {takers} has")
    beside, _, fields = config.ssl.rpartition("+")
    if fields == "features" and config.baseline is None:
        if config.attributes != "input":
            raise InputError("--ssl: features contrasts attributes; it needs --attributes input")
        if beside == "infonce" and config.aug == "none":
            raise InputError("--aug: none leaves infonce nothing to contrast; take --ssl features alone")
        if config.feature_views == "dropout" and config.feature_drop == 0:
            raise InputError("--feature-drop: with 0 the two views of dropout are the same")
    if config.ssl == "histories":
        try:
            names = parse_history_views(config.history_views)
        except SettingError as error:
            raise InputError(f"--history-views: {error.message}") from None
        if config.history == "none" and config.baseline is None:
            raise InputError("--ssl: histories needs --encoder two_tower and --history mean (or attention)")
        if config.history == "mean" and names == ("history_reorder",):
            raise InputError("--history-views: history_reorder changes nothing of the mean of a history")
    if kind.views == 0 and config.aug not in ("none", defaults["aug"]):
        raise InputError(f"--aug: --ssl {config.ssl} takes no views, got {config.aug!r}")
    if kind.views == 1 and "," in config.aug:
        raise InputError(f"--aug: --ssl {config.ssl} takes one view, got {config.aug!r}")


def _check_layer(config: TrainConfig) -> None:
    depth = ENCODERS[config.encoder].depth(config.num_layers)
    ssl = config.ssl.partition("+")[0]
    layer = {"cross_layer": 1, "ncl": 2}.get(ssl, 0) if config.ssl_layer is None else config.ssl_layer
    if ssl in ("cross_layer", "ncl") and not 0 <= layer <= depth:
        raise InputError(
            f"--ssl-layer: must be one of the encoder's layers 0 to {depth} for {ssl}, got {layer}"
        )
    if ssl == "ncl" and (layer == 0 or layer % 2):
        raise InputError(f"--ssl-layer: ncl takes an even layer from 2 on, got {layer}")


def check_temperatures(config: TrainConfig) -> None:
    """Refuse a temperature that the loss cannot have."""
    for name, kind, able in (
        ("loss_temperature", config.loss, {key: loss.temperatures for key, loss in LOSSES.items()}),
        ("temperature", config.ssl, {key: ssl.temperatures for key, ssl in SSL.items()}),
    ):
        try:
            form, _ = parse_temperature(getattr(config, name))
        except InputError as error:
            raise InputError(f"{flag(name)}: {error}") from None
        if form is None or form in able[kind]:
            continue
        fit = options(tuple(key for key, forms in able.items() if form in forms)) or "none"
        if name == "temperature" and form == "adaptive":
            fit = "none, since it adapts to how hard a user's items are; see --loss-temperature"
        raise InputError(f"{flag(name)}: {kind} cannot have {form} (those that can: {fit})")
    adapts = str(config.loss_temperature).startswith("adaptive")
    if adapts and config.loss_settings()["score"] != "cosine":
        raise InputError("--loss-temperature: adaptive needs --loss-score cosine, whose range is known")


def check_attributes(config: TrainConfig) -> None:
    """Refuse attributes that nothing would use, and uses that the encoder has not."""
    tables = [flag(name) for name in ("user_attributes", "item_attributes") if getattr(config, name)]
    if config.baseline is not None:
        wanted = ["--item-attributes"] if BASELINES[config.baseline].needs_attributes else []
        unused = [name for name in tables if name not in wanted]
        if unused:
            raise InputError(f"{unused[0]}: {config.baseline} makes no use of it")
        return
    if config.attributes == "none":
        dropped = config.id_dropout and config.history == "none"
        unused = [*tables, *(["--id-dropout"] if dropped else [])]
        if unused:
            raise InputError(f"{unused[0]}: not used without --attributes input (or nodes)")
        return
    if config.attributes not in ENCODERS[config.encoder].attribute_uses:
        able = [name for name, kind in ENCODERS.items() if config.attributes in kind.attribute_uses]
        found = f"{config.encoder} has no use for them as {config.attributes}"
        raise InputError(f"--attributes: {found}; try {options(tuple(able))}")
