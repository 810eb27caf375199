"""Validation of settings: types, ranges and names as declared, and what settings cannot be together.

Every error is one line that begins with the flag of the setting to change.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gclrec.baselines import BASELINES
from gclrec.common.declaration import Declared
from gclrec.common.errors import InputError, InputWarning, SettingError
from gclrec.common.shell import flag
from gclrec.contrast import SSL
from gclrec.data.splits import Split
from gclrec.encoders import ENCODERS, MAP
from gclrec.evaluation.groups import AMONG_GROUPS, BALANCED, ITEM_GROUPS, USER_GROUPS
from gclrec.losses.ranking_losses import LOSSES
from gclrec.losses.temperature import parse_temperature
from gclrec.negatives.registry import NEGATIVES
from gclrec.settings.budget import replaced, without_rivals
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import AUTO, METHODS
from gclrec.settings.registries import REGISTRIES
from gclrec.views.views import parse_augmentations

GROUPS = (*USER_GROUPS, *ITEM_GROUPS, *AMONG_GROUPS, *BALANCED)


def validate(config: TrainConfig) -> TrainConfig:
    """Return the settings unchanged.

    Raises:
        InputError: a setting has a wrong type, is out of range, is not a known name, is not used by the
            chosen components, or contradicts another one; the message names the flag.
    """
    for name, known in config.known.items():
        with naming_flags({}):
            known.check(getattr(config, name))
    for name, registry in REGISTRIES.items():
        if registry.composed:
            with naming_flags({}):
                registry.entries[config.chosen(name)]
    if config.pilot:
        if config.start_from is not None:
            raise InputError("--pilot: a run that starts from another one keeps the recipe of that one")
        recipes_for(config)
        return config
    _check_evaluation(config)
    _check_budget(config)
    _check_encoder(config)
    _check_loss(config)
    _check_negatives(config)
    _check_temperatures(config)
    _check_unused(config)
    _check_contrast(config)
    _check_attributes(config)
    for name, registry in REGISTRIES.items():
        check = getattr(registry.entries.get(config.chosen(name)), "check", None)
        if check is not None:
            with naming_flags(registry.declared(config.chosen(name))):
                check(**config.arguments(name))
    if config.baseline is not None and config.start_from is not None:
        raise InputError(f"--start-from: {config.baseline} starts from nothing; leave it out")
    if config.baseline is None and config.loss == "none" and not config.contrasts:
        raise InputError("--loss: none leaves nothing to train; choose another, or a contrast with --ssl")
    return config


def recipes_for(config: TrainConfig) -> dict[str, TrainConfig]:
    """Return what a pilot chooses between: the settings with those of each recipe that are not held.

    Recipes that the settings held do not suit are left out, one without layer 0 where cold items get theirs
    from attributes too, and so are those that come out as one before.
    Where ``aug`` is held, a recipe with views of its own contrasts two of those that are asked for. Epochs of
    a recipe count where the budget of the run is none of steps.

    Args:
        config: settings with a ``pilot``.

    Raises:
        InputError: a name in ``held`` is no setting, or no recipe is left; says why the first one is not.
    """
    for name in config.held:
        if name not in config.known:
            raise InputError(f"--held: {name!r} is not a setting")
    made: dict[str, TrainConfig] = {}
    refused: list[InputError] = []
    for name, settings in METHODS[AUTO].recipes.items():
        own: dict[str, Any] = {key: value for key, value in settings.items() if key not in config.held}
        if "aug" in config.held and settings["aug"] != "none" and "ssl" in own:
            own["ssl"] = "infonce"
        own = without_rivals(own, () if config.steps is None else ("steps",))
        recipe = replaced(config, {"pilot": 0.0, "held": (), **own})
        try:
            validate(recipe)
            if (
                recipe.attributes == "input"
                and recipe.arguments("encoder").get("layer_weights") == "mean_without_0"
            ):
                raise InputError(
                    "--attributes: input gives layer 0 to cold items, which mean_without_0 leaves out"
                )
        except InputError as error:
            refused.append(error)
            continue
        if recipe not in made.values():
            made[name] = recipe
    if not made:
        raise refused[0]
    return made


@contextmanager
def naming_flags(declared: Mapping[str, Declared]) -> Iterator[None]:
    """Name the flag in errors about an argument of a component.

    Args:
        declared: its settings by argument; a name that is not among them is public already.
    """
    try:
        yield
    except SettingError as error:
        known = declared.get(error.argument)
        name = error.argument if known is None else known.setting.name
        raise InputError(f"{flag(name)}: {error.message}") from None


def _or(names: Iterable[str]) -> str:
    return " or ".join(names)


def _check_unused(config: TrainConfig) -> None:
    """Refuse a setting that no chosen component has and that differs from its default."""
    for name, known in config.known.items():
        idle = not any(set(names).intersection(config.parts(choice)) for choice, names in known.users.items())
        lenient = known.setting.lenient or any(REGISTRIES[choice].lenient for choice in known.users)
        if not known.users or lenient or not idle or getattr(config, name) == known.default:
            continue
        if ("ssl" in known.users and config.ssl == "none") or (
            "split" in known.users and config.split is None
        ):
            continue
        if "encoder" in known.users and config.baseline is not None:
            continue
        found = " and ".join(f"{flag(choice)} {config.chosen(choice)}" for choice in known.users)
        give = _or(f"{flag(choice)} {_or(names)}" for choice, names in known.users.items())
        hint = "".join(
            f" (method {taker} has {choice} {config.chosen(choice)})"
            for choice, names in known.users.items()
            for taker in names
            if taker in METHODS and METHODS[taker].settings.get(choice) == config.chosen(choice)
        )
        raise InputError(f"{flag(name)}: {found} has no use for it{hint}; give {give}")


def _check_evaluation(config: TrainConfig) -> None:
    """Refuse bad cut-offs, and selection by a figure that is not measured."""
    if not config.ks or min(config.ks) < 1:
        raise InputError(f"--ks: cut-offs must be at least 1, got {list(config.ks)}")
    group, _, figure = config.selected.partition("/")
    if config.goal is not None and "/" in config.select:
        raise InputError(f"--goal: --select {config.select} names a group already; leave one of them out")
    if group not in GROUPS:
        raise InputError(f"--select: {group!r} is not one of {', '.join(GROUPS)}")
    metric, _, k = figure.partition("@")
    if metric not in config.metrics or k not in map(str, config.ks):
        how = "choose METRIC@K (or GROUP/METRIC@K) from --metrics and --ks"
        raise InputError(f"--select: {config.select!r} is not measured; {how}")


def _check_budget(config: TrainConfig) -> None:
    """Refuse two lengths of a run, and a sample of edges for an encoder that takes no operators."""
    if config.epochs is not None and config.steps is not None:
        raise InputError("--steps: a run has either --steps or --epochs; leave one of them out")
    if config.sample_edges == 1.0 or config.baseline is not None:
        return
    kind = ENCODERS[config.encoder]
    if not kind.propagates:
        raise InputError(f"--sample-edges: {config.encoder} propagates over no edges; leave it out")
    if kind.needs_edges or config.attributes == "nodes":
        what = config.encoder if kind.needs_edges else "--attributes nodes"
        raise InputError(f"--sample-edges: {what} takes whole graphs alone; leave it out")


def check_selection(config: TrainConfig, split: Split) -> None:
    """Refuse selection by a group that has no pair in the validation part.

    Raises:
        InputError: it has none; the groups that have some are named.
    """
    if len(split.valid) == 0:
        return  # nothing to select by: reported elsewhere
    sides = (
        (USER_GROUPS, split.train.user_degrees(), split.valid.user),
        (ITEM_GROUPS | AMONG_GROUPS, split.train.item_degrees(), split.valid.item),
    )
    able = [
        name
        for groups, degrees, rows in sides
        for name, members in groups.items()
        if members(degrees, config.near_cold)[rows].any()
    ]
    able += [name for name, parts in BALANCED.items() if any(part in able for part in parts)]
    group = config.selected.partition("/")[0]
    if group not in able:
        found = f"the validation part of split {split.name} has no pair of {group}"
        raise InputError(f"--select: {found}; it has of {', '.join(able)}")


def _check_encoder(config: TrainConfig) -> None:
    """Refuse what the encoder cannot work with."""
    kind = ENCODERS[config.encoder]
    if config.num_layers < kind.least_layers:
        least = f"{config.encoder} takes at least {kind.least_layers}"
        raise InputError(f"--num-layers: {least}, got {config.num_layers}")
    chains = parse_augmentations(config.aug, config.aug_p)
    if kind.needs_edges and any(step.name == "svd" for chain in chains for step in chain):
        raise InputError(f"--aug: svd leaves no edges, which the convolutions of {config.encoder} need")
    if config.baseline is not None:
        return
    if kind.takes_histories and config.attributes == config.history == "none":
        what = f"{config.encoder} needs --attributes input or --history; with ids alone it is mf"
        raise InputError(f"--encoder: {what}")
    if config.history == "none" and config.history_length != config.known["history_length"].default:
        raise InputError("--history-length: not used without --history mean (or attention)")


def advise_views(config: TrainConfig) -> None:
    """Warn with an :class:`~gclrec.InputWarning` if views of a graph change nothing for the encoder."""
    if config.baseline is not None or not config.contrasts or ENCODERS[config.encoder].propagates:
        return
    chains = parse_augmentations(config.aug, config.aug_p)[: SSL[config.ssl].views]
    steps = {step.name for chain in chains for step in chain} - {"none"}
    if steps and not steps & {"noise", "feature_mask"}:
        why = f"{config.encoder} looks at no graph, so --aug {config.aug} changes nothing"
        warnings.warn(f"{why}; take noise, feature_mask or none", InputWarning, stacklevel=2)


def _check_loss(config: TrainConfig) -> None:
    """Refuse settings that the loss would ignore."""
    loss = LOSSES[config.loss]
    if config.loss_score is not None and config.loss_score not in loss.scores:
        able = ", ".join(loss.scores) or "nothing"
        raise InputError(f"--loss-score: {config.loss} compares by {able}, not {config.loss_score}")
    if not loss.needs_negatives and (config.negatives != "uniform" or config.num_negatives is not None):
        raise InputError(f"--negatives: {config.loss} takes none; leave out --negatives and --num-negatives")
    if config.logq and not loss.sums_exponentials:
        able = ", ".join(name for name, other in LOSSES.items() if other.sums_exponentials)
        raise InputError(f"--logq: it corrects a sum of exponentials ({able}), which {config.loss} has not")
    if config.logq_positive and not (config.logq and config.loss == "softmax"):
        raise InputError("--logq-positive: it belongs to --logq with --loss softmax; leave it out")


def _check_negatives(config: TrainConfig) -> None:
    """Refuse a number of negatives that the sampler does not set, and exposed ones without their file."""
    sampler = NEGATIVES[config.negatives]
    if config.num_negatives is not None and sampler.sized_by is not None:
        instead = f"change {flag(sampler.sized_by)} instead"
        raise InputError(f"--num-negatives: {config.negatives} takes those of the batch; {instead}")
    if (config.exposed is not None) != sampler.needs_exposed:
        raise InputError("--exposed: a file of shown pairs and --negatives exposed need each other")


def _check_contrast(config: TrainConfig) -> None:
    """Refuse what the contrast cannot work with, and views that it does not take."""
    kind, parts = SSL[config.ssl], config.parts("ssl")
    if kind.make is None:
        return
    depth = ENCODERS[config.encoder].depth(config.num_layers)
    for name in parts:
        declared = SSL[name].declared.get("layer")
        layer = 0 if declared is None else declared.default if config.ssl_layer is None else config.ssl_layer
        if not 0 <= layer <= depth:
            what = f"must be one of the encoder's layers 0 to {depth} for {name}"
            raise InputError(f"--ssl-layer: {what}, got {layer}")
    if config.baseline is None:
        if kind.needs_attributes and config.attributes != "input":
            raise InputError(f"--ssl: {config.ssl} contrasts attributes; it needs --attributes input")
        if kind.takes_attributes and config.attributes != MAP:
            raise InputError(f"--ssl: {config.ssl} encodes attributes itself; it needs --attributes map")
        alike = [name for name in parts if SSL[name].differs] if config.aug == "none" else []
        if alike and len(parts) > 1:
            raise InputError(
                f"--aug: none leaves {alike[0]} nothing to contrast; take --ssl {parts[-1]} alone"
            )
        if kind.needs_histories and config.history == "none":
            what = f"{config.ssl} needs --encoder two_tower and --history mean (or attention)"
            raise InputError(f"--ssl: {what}")
    if kind.needs_histories and (config.history, config.history_views) == ("mean", "history_reorder"):
        raise InputError("--history-views: history_reorder changes nothing of the mean of a history")
    if kind.views == 0 and config.aug not in ("none", config.known["aug"].default):
        raise InputError(f"--aug: --ssl {config.ssl} takes no views, got {config.aug!r}")
    if kind.views == 1 and "," in config.aug:
        raise InputError(f"--aug: --ssl {config.ssl} takes one view, got {config.aug!r}")


def _check_temperatures(config: TrainConfig) -> None:
    """Refuse a temperature that the loss or the contrast cannot have."""
    for name, choice in (("loss_temperature", "loss"), ("temperature", "ssl")):
        chosen, able = config.chosen(choice), REGISTRIES[choice].entries
        try:
            form, _ = parse_temperature(getattr(config, name))
        except InputError as error:
            raise InputError(f"{flag(name)}: {error}") from None
        if form is None or form in able[chosen].temperatures:
            continue
        fit = ", ".join(key for key, entry in able.items() if form in entry.temperatures) or "none"
        if name == "temperature" and form == "adaptive":
            fit = "none, since it adapts to how hard a user's items are; see --loss-temperature"
        raise InputError(f"{flag(name)}: {chosen} cannot have {form} (those that can: {fit})")
    adapts = str(config.loss_temperature).startswith("adaptive")
    if adapts and config.arguments("loss")["score"] != "cosine":
        raise InputError("--loss-temperature: adaptive needs --loss-score cosine, whose range is known")


def _check_attributes(config: TrainConfig) -> None:
    """Refuse attributes that nothing would use, and uses that the encoder does not have."""
    tables = [flag(name) for name in ("user_attributes", "item_attributes") if getattr(config, name)]
    if config.baseline is not None:
        side = BASELINES[config.baseline].attributes_of or ""
        unused = [name for name in tables if name != f"--{side.removesuffix('s')}-attributes"]
        if unused:
            raise InputError(f"{unused[0]}: {config.baseline} makes no use of it")
        return
    if config.attributes == MAP and config.id_dropout:
        raise InputError("--id-dropout: not used without --attributes input (or nodes)")
    if config.attributes == "none":
        dropped = config.id_dropout and config.history == "none"
        unused = [*tables, *(["--id-dropout"] if dropped else [])]
        if unused:
            raise InputError(f"{unused[0]}: not used without --attributes input (or nodes)")
        return
    if config.attributes not in ENCODERS[config.encoder].attribute_uses:
        able = [name for name, kind in ENCODERS.items() if config.attributes in kind.attribute_uses]
        found = f"{config.encoder} has no use for them as {config.attributes}"
        raise InputError(f"--attributes: {found}; try {', '.join(able)}")
