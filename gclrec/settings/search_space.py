"""Settings that a search or a grid may vary: how they are typed, where to look, and which change nothing."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gclrec.common.declaration import Around, Axis, Options, Span
from gclrec.common.errors import InputError, NothingToTuneError
from gclrec.common.shell import flag
from gclrec.contrast import SSL
from gclrec.losses.ranking_losses import LOSSES
from gclrec.settings.budget import replaced
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.registries import CONTRAST, DATA, EVALUATION, LOSS, MODEL, REGISTRIES, fits, spoken
from gclrec.settings.validation import validate
from gclrec.views.views import VIEWS, parse_augmentations

_TRAINING = (
    "epochs",
    "steps",
    "batch_size",
    "sample_edges",
    "learning_rate",
    "l2_weight",
    "patience",
)  # may be varied
_COMPARED = ("baseline", "aug")  # vary from variant to variant, never in a grid
_OF_ALL_RUNS = ("seed", "device", "tensorboard")
_OF_ONE_RUN = ("select",)  # changes no figure; a method without cold figures may select its epoch by others


def spans() -> dict[str, Span | Around]:
    """Return where to look for each setting that is worth a search; a method's own ``space`` goes first."""
    found = {name: known.setting.search for name, known in TrainConfig.known.items()}
    return {name: search for name, search in found.items() if search is not None}


def named_values(text: str, option: str, form: str) -> tuple[str, str]:
    """Return the name of a setting and the values in ``NAME=VALUES``.

    Args:
        text: what was typed.
        option: the flag that it was typed for.
        form: how the values are written, for messages.

    Raises:
        InputError: the text is not of that form, or the setting cannot be chosen on validation.
    """
    spelled, equals, values = text.partition("=")
    name = spelled.strip().removeprefix("--").replace("-", "_")
    if not equals or not values.strip():
        raise InputError(f"{option}: {text!r} is not of the form NAME={form}")
    able = [key for key in (*_of_components(), *_TRAINING) if key not in _COMPARED]
    if name not in able:
        hint = f"choose from {', '.join(flag(other)[2:] for other in able)}"
        raise InputError(f"{option}: {spelled!r} is nothing to choose on validation; {hint}")
    return name, values


def variant_settings(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of one variant of a comparison, with the types of a run.

    Args:
        values: settings by name, as in a TOML file.
        source: the file and the variant, for messages.

    Raises:
        InputError: a setting is unknown, of another type, or one that all runs share.
    """
    settings: dict[str, Any] = {}
    for spelled, value in values.items():
        name = spelled.replace("-", "_")
        if name not in TrainConfig.known:
            raise InputError(f"{source}: unknown setting {spelled!r}; see --help")
        of_all = TrainConfig.known[name].group in (DATA, EVALUATION) or name in _OF_ALL_RUNS
        if of_all and name not in _OF_ONE_RUN:
            raise InputError(f"{source}: all runs share {spelled!r}; set it above the variants")
        if isinstance(value, (dict, list)):
            raise InputError(f"{source}: {spelled!r} has one value, found {value}")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        settings[name] = setting_value(name, text, source, f"{spelled} = {value}")
    return settings


def setting_value(name: str, text: str, option: str, where: str) -> Any:
    """Return a typed value with the type of its setting.

    Args:
        name: the setting.
        text: the value as it was typed.
        option: the flag that it was typed for.
        where: the whole text, for messages.

    Raises:
        InputError: the value has another type.
    """
    text, kind = text.strip(), TrainConfig.known[name].type
    read: Any = {"true": True, "false": False}.get(text, text)
    for each in (int, float):
        try:
            number = each(text)
        except ValueError:
            continue
        if fits(number, kind):
            return number
    if fits(text, kind) or (isinstance(read, bool) and fits(read, kind)):
        return text if fits(text, kind) else read
    raise InputError(f"{option}: {where!r}: found {text!r}, expected {spoken(kind)}")


def idle_settings(config: TrainConfig) -> frozenset[str]:
    """Return the names of settings that change nothing in a run, so that no grid need try them.

    With a baseline all settings of training but its own are idle, and without one those of baselines are. So
    are those of the contrast where there is none, and ``aug_p`` where every augmentation names its strength.
    """
    if config.baseline is not None:
        own = {each.setting.name for each in REGISTRIES["baseline"].declared(config.baseline).values()}
        return frozenset({*_of_components(), *_TRAINING} - {"baseline", *own})
    others = {name for name, known in config.known.items() if set(known.users) == {"baseline"}}
    one, other = (changing_steps(config.aug, p) for p in (0.25, 0.75))
    kind = SSL[config.ssl]
    if kind.make is None or config.ssl_weight == 0 or (kind.differs and not one):
        contrast = {name for name, known in config.known.items() if known.group == CONTRAST}
        kept = {"aug", "ssl"} | ({"ssl_weight"} if config.ssl_weight == 0 else set())
        return frozenset(contrast - kept | others)
    fixed = one == other or kind.views == 0
    return frozenset(others | ({"aug_p"} if fixed else set()))


def changing_steps(aug: str, p: float) -> list[tuple[str, float]]:
    """Return name and strength of each augmentation but ``none``.

    Args:
        aug: augmentations in the grammar of :mod:`gclrec.views.views`.
        p: strength of those that name none.
    """
    chains = parse_augmentations(aug, p)
    return [(step.name, step.p) for chain in chains for step in chain if step.name != "none"]


def search_space(
    config: TrainConfig, method: str | None = None, *, given: Collection[str] = (), asked: Sequence[str] = ()
) -> tuple[TrainConfig, dict[str, Axis]]:
    """Return the settings to start from, and where to look for those that matter.

    The settings that matter are those of the chosen components, the learning rate and L2. A strength that the
    augmentations name, if it is one for all, becomes that of ``aug_p``.

    Args:
        config: the settings, those of the method among them.
        method: name in ``METHODS`` whose own ``space`` goes first.
        given: settings that stay as they are.
        asked: axes in place of the usual ones or beside them, each ``NAME=LOW..HIGH`` or
            ``NAME=VALUE,VALUE``.

    Raises:
        NothingToTuneError: there is nothing to search.
        InputError: an axis is malformed, or its ends are refused.
    """
    config = validate(config if "aug" in given else _with_one_strength(config))
    own: Mapping[str, Span] = {} if method is None else METHODS[method].space
    space: dict[str, Axis] = {}
    for name in _mattering(config):
        value = getattr(config, name)
        found = own.get(name, config.known[name].setting.search)
        if name in given or found is None or isinstance(value, str) or value is None:
            continue
        if isinstance(found, Around):
            if value <= 0:
                continue
            found = found.span(value)
        space[name] = _fitting(config, name, found)
    for text in asked:
        name, axis = _typed(text)
        if name in given:
            raise InputError(f"--space: {flag(name)[2:]!r} is given by {flag(name)}, so it stays as it is")
        if name in idle_settings(config):
            raise InputError(f"--space: {flag(name)[2:]!r} changes nothing with these settings")
        space[name] = axis
    if not space:
        what = method or config.baseline or "these settings"
        raise NothingToTuneError(
            f"{what}: there is nothing to tune; name settings with --space NAME=LOW..HIGH"
        )
    for name, axis in space.items():
        for value in axis.values if isinstance(axis, Options) else (axis.low, axis.high):
            validate(_with(config, name, value))
    return config, space


def _of_components() -> list[str]:
    return [name for name, known in TrainConfig.known.items() if known.group in (MODEL, LOSS, CONTRAST)]


def _with(config: TrainConfig, name: str, value: Any) -> TrainConfig:
    return replaced(config, {name: value})


def _mattering(config: TrainConfig) -> list[str]:
    """Return the names of the settings that a run depends on."""

    def of(choice: str) -> list[str]:
        return [each.setting.name for each in REGISTRIES[choice].declared(config.chosen(choice)).values()]

    if config.baseline is not None:
        return [name for name in of("baseline") if name != "seed"]
    names = ["learning_rate", *(["l2_weight"] if config.l2_weight else []), *of("encoder"), *of("loss")]
    names += of("negatives") if LOSSES[config.loss].needs_negatives else []
    if config.contrasts:
        names += ["ssl_weight"] if config.loss != "none" else []  # alone, it is weighed against L2 only
        names += of("ssl")
        names += ["aug_p"] if SSL[config.ssl].views else []
    idle = {*idle_settings(config), "dim"}
    idle |= {"history_length"} if config.history == "none" else set()
    idle |= {"id_dropout"} if config.attributes == config.history == "none" else set()
    return [name for name in dict.fromkeys(names) if name not in idle]


def _with_one_strength(config: TrainConfig) -> TrainConfig:
    """Return the same settings with the strength of the augmentations in ``aug_p``, where they have one."""
    steps = changing_steps(config.aug, config.aug_p)
    strengths = {p for _, p in steps}
    if len(strengths) != 1 or any(VIEWS[name].default is not None for name, _ in steps):
        return config
    (p,) = strengths
    bare = re.sub(r":[^+,]*", "", config.aug)
    if not 0 < p < 1 or bare == config.aug:
        return config
    return dataclasses.replace(config, aug=bare, aug_p=p)


def _fitting(config: TrainConfig, name: str, span: Span) -> Span:
    """Return a span from the lowest whole number that the other settings allow, as for layers."""
    if not span.whole or span.log:
        return span
    for low in range(int(span.low), int(span.high)):
        try:
            validate(_with(config, name, low))
        except InputError:
            continue
        return Span(low, span.high)
    return span


def _typed(text: str) -> tuple[str, Axis]:
    """Return an axis as it is typed: two ends, or values to choose from."""
    name, values = named_values(text, "--space", "LOW..HIGH or NAME=VALUE,VALUE")
    ends = values.split("..")
    if len(ends) == 1:
        chosen = [setting_value(name, part, "--space", text) for part in values.split(",")]
        return name, Options(tuple(dict.fromkeys(chosen)))
    low, high = (setting_value(name, end, "--space", text) for end in (ends[0], ends[-1]))
    if len(ends) > 2 or any(isinstance(end, (str, bool)) for end in (low, high)) or not low < high:
        raise InputError(f"--space: {text!r}: expected two numbers, the lower one first, as LOW..HIGH")
    return name, Span(low, high, log=low > 0 and high / low >= 10)
