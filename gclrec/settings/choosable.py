"""Which settings may be chosen or varied, how they are typed, and which of them change nothing."""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from cyclopts import Parameter

from gclrec.baselines import BASELINES
from gclrec.common.errors import InputError
from gclrec.contrast import SSL
from gclrec.settings.config import CONTRAST, DATA, EVALUATION, LOSS, MODEL, TrainConfig, flag
from gclrec.views.views import parse_augmentations

_TUNABLE = (
    "epochs",
    "batch_size",
    "learning_rate",
    "l2_weight",
    "patience",
)
_UNTUNABLE = ("baseline", "aug")  # they are what is compared
_OF_ALL_RUNS = ("seed", "device", "tensorboard")
_OF_ONE_RUN = ("select",)  # it moves no figure: what cannot know cold items may choose its epoch by others


def named_values(text: str, option: str, form: str) -> tuple[str, str]:
    """Return the name of a setting and what stands after it in ``NAME=VALUES``.

    Args:
        text: what was typed.
        option: the flag that it was typed for.
        form: how the values are written.

    Raises:
        InputError: it is not of that form, or the setting is none to be chosen on validation.
    """
    spelled, equals, values = text.partition("=")
    name = spelled.strip().removeprefix("--").replace("-", "_")
    if not equals or not values.strip():
        raise InputError(f"{option}: {text!r} is not of the form NAME={form}")
    groups = {key: _group(hint) for key, hint in _hints().items()}
    able = [key for key, group in groups.items() if group in (MODEL, LOSS, CONTRAST) or key in _TUNABLE]
    able = [key for key in able if key not in _UNTUNABLE]
    if name not in able:
        hint = f"choose from {', '.join(flag(other)[2:] for other in able)}"
        raise InputError(f"{option}: {spelled!r} is nothing to choose on validation; {hint}")
    return name, values


def variant_settings(values: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return the settings of one variant of a comparison, typed as a run has them.

    Args:
        values: settings by their names, as a TOML file has them.
        source: the file and the variant, for messages.

    Raises:
        InputError: a setting is unknown, of another type, or one that all runs must share.
    """
    hints = _hints()
    settings: dict[str, Any] = {}
    for spelled, value in values.items():
        name = spelled.replace("-", "_")
        if name not in hints:
            raise InputError(f"{source}: unknown setting {spelled!r}; see --help")
        of_all = _group(hints[name]) in (DATA, EVALUATION) or name in _OF_ALL_RUNS
        if of_all and name not in _OF_ONE_RUN:
            raise InputError(f"{source}: all runs share {spelled!r}; set it above the variants")
        if isinstance(value, (dict, list)):
            raise InputError(f"{source}: {spelled!r} has one value, found {value}")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        settings[name] = setting_value(name, text, source, f"{spelled} = {value}")
    return settings


def _hints() -> dict[str, Any]:
    return get_type_hints(TrainConfig, include_extras=True)


def _group(hint: Any) -> Any:
    groups = [part.group for part in get_args(hint) if isinstance(part, Parameter)]
    return next((group[0] for group in groups if isinstance(group, tuple) and group), None)


def setting_value(name: str, text: str, option: str, where: str) -> Any:
    """Return a value of a type that a setting may have.

    Args:
        name: the setting.
        text: the value as it was typed.
        option: the flag that it was typed for.
        where: all that was typed there.

    Raises:
        InputError: it is of another type.
    """
    hint, text = _hints()[name], text.strip()
    whole = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    kinds = get_args(whole) if get_origin(whole) in (Union, types.UnionType) else (whole,)
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    if bool in kinds:
        if text not in ("true", "false"):
            raise InputError(f"{option}: {where!r}: found {text!r}, expected true or false")
        return text == "true"
    for kind in kinds:
        try:
            return kind(text)
        except ValueError:
            continue
    expected = "a whole number" if kinds == (int,) else "a number"
    raise InputError(f"{option}: {where!r}: found {text!r}, expected {expected}")


def idle_settings(config: TrainConfig) -> frozenset[str]:
    """Return the names of settings that change nothing in a run, so that no grid need try them out.

    Without contrast its settings are idle; ``aug_p`` is where every augmentation names its strength; with a
    baseline everything but its own settings is, and without one theirs are.
    """
    hints = _hints()
    if config.baseline is not None:
        own = BASELINES[config.baseline].settings.values()
        learnt = [name for name, hint in hints.items() if _group(hint) in (MODEL, LOSS, CONTRAST)]
        return frozenset({*learnt, *_TUNABLE} - {"baseline", *own})
    others = {name for entry in BASELINES.values() for name in entry.settings.values()} - {"dim", "seed"}
    one, other = (changing_steps(config.aug, p) for p in (0.25, 0.75))
    differ = len(one) > 0
    kind = SSL[config.ssl]
    if kind.make is None or config.ssl_weight == 0 or (kind.differs and not differ):
        contrast = {name for name, hint in hints.items() if _group(hint) == CONTRAST}
        kept = {"aug", "ssl"} | ({"ssl_weight"} if config.ssl_weight == 0 else set())
        return frozenset(contrast - kept | others)
    fixed = one == other or kind.views == 0
    return frozenset(others | ({"aug_p"} if fixed else set()))


def changing_steps(aug: str, p: float) -> list[tuple[str, float]]:
    """Return name and strength of each augmentation, where ``p`` is that of those that name none.

    Args:
        aug: augmentations as ``--aug`` has them; those called ``none`` are left out.
        p: the strength.
    """
    chains = parse_augmentations(aug, p)
    return [(step.name, step.p) for chain in chains for step in chain if step.name != "none"]
