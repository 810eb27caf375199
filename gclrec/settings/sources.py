"""Where settings come from, and which source goes before which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gclrec.common.errors import InputError
from gclrec.common.files import local_path, read_toml
from gclrec.contrast import SSL
from gclrec.data.splits import COLD_SIDES
from gclrec.encoders import ENCODERS, MAP
from gclrec.runs.reading import settings_of
from gclrec.settings.budget import warm_budget, without_rivals
from gclrec.settings.config import TrainConfig, without_retired
from gclrec.settings.methods import AUTO, method_settings
from gclrec.settings.registries import REGISTRIES
from gclrec.settings.validation import validate

MODEL_CHOICES = frozenset(REGISTRIES) - {"split", "schedule"}
"""Settings that choose a part of a model: a run that gives one of them is composed by hand."""


def layers(
    config: str | Path | Mapping[str, Any] | None = None,
    method: str | None = None,
    start_from: str | None = None,
    *,
    given: Mapping[str, Any] | None = None,
    auto: bool = False,
) -> list[tuple[str, dict[str, Any]]]:
    """Return settings with their source, the source that goes before the others first.

    A method may also be named by ``method`` among the settings of ``config``, and a run by ``start_from``.

    Args:
        config: TOML file of settings, or the settings themselves.
        method: name of a published model or baseline.
        start_from: run folder whose settings go after the others, with the budget of a warm start.
        given: the settings that go before these.
        auto: whether a run that names no method and gives none of :data:`MODEL_CHOICES` has the method
            ``auto``.

    Raises:
        InputError: a file cannot be read, there is no such method, or the run is not one to start from.
    """
    found, given = [], given or {}
    names = set(given)
    if config is not None:
        source = "config" if isinstance(config, Mapping) else str(config)
        values = dict(config) if isinstance(config, Mapping) else read_toml(local_path(config))
        values = {name.replace("-", "_"): value for name, value in values.items()}
        named = values.pop("method", None)
        method = named if method is None else method
        start_from = values.get("start_from") if start_from is None else start_from
        found.append((source, without_retired(values, source=source)))
        names.update(values)
    if auto and method is None and start_from is None and not names & MODEL_CHOICES:
        method = AUTO
    if method is not None:
        found.append((f"method {method}", dict(method_settings(str(method), given=names))))
    if start_from is not None:
        path = local_path(start_from)
        if not (path / "config.toml").is_file():
            raise InputError(f"{path}: no run folder to start from")
        former = without_retired(settings_of(path), source=str(path / "config.toml"))
        if "baseline" in former:
            raise InputError(f"{path}: {former['baseline']} has no training that could be gone on with")
        found.append((str(path / "config.toml"), warm_budget(former)))
    known = {name: value for _, values in reversed(found) for name, value in values.items()} | dict(given)
    if use := _use_of_attributes(known):
        found.append(("tables of attributes", {"attributes": use}))
    split = known.get("split")
    if split in COLD_SIDES and "goal" not in known and "/" not in str(known.get("select", "")):
        found.append((f"split {split}", {"goal": "balanced"}))
    return found


def layered_config(
    settings: Mapping[str, Any],
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    method: str | None = None,
    auto: bool = False,
) -> TrainConfig:
    """Return checked settings: those given, then those of ``config``, then those of ``method``.

    Args:
        settings: by name, ``None`` for the default.
        config: see :func:`layers`.
        method: likewise.
        auto: whether a run that names no method may have the method ``auto``; see :func:`layers`.

    Raises:
        InputError: a setting is unknown, of a wrong type or out of range; the message names its source.
    """
    merged: dict[str, Any] = {}
    named = {name: value for name, value in settings.items() if value is not None}
    sources = layers(config, method, settings.get("start_from"), given=named, auto=auto)
    for source, values in [*reversed(sources), ("settings", settings)]:
        given = {name: value for name, value in values.items() if value is not None}
        TrainConfig.from_dict(given, source=source)  # names the source of what is unknown or of a wrong type
        kept = without_rivals(merged, given)
        merged = {name: value for name, value in kept.items() if name not in values} | given
    return validate(TrainConfig.from_dict(merged, source="settings"))


def _use_of_attributes(settings: Mapping[str, Any]) -> str | None:
    """Return the use of attributes whose tables are given, ``None`` where there are none or a use is named.

    It is a map, which costs what has interactions nothing; with settings that need layer 0, ``input``.
    """
    tables = any(settings.get(f"{side}_attributes") is not None for side in ("user", "item"))
    if not tables or "attributes" in settings or settings.get("baseline") is not None:
        return None
    encoder, ssl = (str(settings.get(name, REGISTRIES[name].default)) for name in ("encoder", "ssl"))
    inner = settings.get("id_dropout") or (ssl in SSL and SSL[ssl].needs_attributes)
    able = encoder not in ENCODERS or MAP in ENCODERS[encoder].attribute_uses  # others are refused later
    return MAP if able and not inner else "input"
