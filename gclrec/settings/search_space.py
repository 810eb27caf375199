"""Which settings of a run are worth a search, and where to look for each."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gclrec.baselines import BASELINES
from gclrec.common.errors import InputError
from gclrec.contrast import SSL
from gclrec.losses.ranking_losses import LOSSES
from gclrec.negatives.registry import NEGATIVES
from gclrec.settings.choosable import changing_steps, idle_settings, named_values, setting_value
from gclrec.settings.config import TrainConfig, flag
from gclrec.settings.methods import METHODS
from gclrec.settings.spaces import SPACES, Around, Axis, Options, Span
from gclrec.views.views import VIEWS


def search_space(
    config: TrainConfig,
    method: str | None = None,
    *,
    given: Collection[str] = (),
    asked: Sequence[str] = (),
) -> tuple[TrainConfig, dict[str, Axis]]:
    """Return the settings to start from, and where to look for those that matter to them.

    What matters is read off the tables: the settings of the loss, the negatives, the contrast or the
    baseline, the learning rate, L2 and the layers of what is trained. A strength that the augmentations name,
    all the same one, becomes that of ``aug_p``.

    Args:
        config: the settings, those of the method among them.
        method: name in ``METHODS`` whose own ``space`` goes first.
        given: settings that were asked for and so stay as they are.
        asked: axes in place of the usual ones or beside them, each ``NAME=LOW..HIGH`` or
            ``NAME=VALUE,VALUE``.

    Raises:
        InputError: there is nothing to look for, an axis is not one, or its ends are refused.
    """
    config = (config if "aug" in given else _with_one_strength(config)).checked()
    own: Mapping[str, Span] = {} if method is None else METHODS[method].space
    space: dict[str, Axis] = {}
    for name in _mattering(config):
        value = getattr(config, name)
        found = own.get(name, SPACES.get(name))
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
        raise InputError(f"{what}: there is nothing to tune; name settings with --space NAME=LOW..HIGH")
    for name, axis in space.items():
        for value in axis.values if isinstance(axis, Options) else (axis.low, axis.high):
            _with(config, name, value).checked()
    return config, space


def _with(config: TrainConfig, name: str, value: Any) -> TrainConfig:
    return dataclasses.replace(config, **{name: value})


def _mattering(config: TrainConfig) -> list[str]:
    """Return the names of the settings that a run depends on, of those that a search may change."""
    if config.baseline is not None:
        return [name for name in BASELINES[config.baseline].settings.values() if name != "seed"]
    loss = LOSSES[config.loss]
    names = ["learning_rate", *(["l2_weight"] if config.l2_weight else [])]
    if config.encoder == "two_tower":
        names += ["tower_layers", *(["history_length"] if config.history != "none" else [])]
    elif config.encoder != "mf":
        names += ["num_layers", *(["degree_exponent"] if config.encoder == "lightgcn" else [])]
    names += ["id_dropout"] if config.attributes != "none" or config.history != "none" else []
    names += loss.settings.values()
    names += NEGATIVES[config.negatives].settings.values() if loss.needs_negatives else ()
    if config.contrasts:
        ssl = SSL[config.ssl]
        names += ["ssl_weight"] if config.loss != "none" else []  # alone, it is weighed against L2 only
        names += ssl.settings.values()
        names += ["aug_p"] if ssl.views else []
    idle = idle_settings(config)
    return [name for name in dict.fromkeys(names) if name not in idle and name != "dim"]


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
    """Return a span from the lowest whole number on that goes with the other settings, as layers must."""
    if not span.whole or span.log:
        return span
    for low in range(int(span.low), int(span.high)):
        try:
            _with(config, name, low).checked()
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
