"""Where settings come from, and which source goes before which."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gclrec.common.errors import InputError
from gclrec.common.files import local_path, read_toml
from gclrec.runs.reading import settings_of
from gclrec.settings.budget import warm_budget, without_rivals
from gclrec.settings.config import TrainConfig, without_retired
from gclrec.settings.methods import method_settings
from gclrec.settings.validation import validate


def layers(
    config: str | Path | Mapping[str, Any] | None = None,
    method: str | None = None,
    start_from: str | None = None,
) -> list[tuple[str, dict[str, Any]]]:
    """Return settings with their source, the source that goes before the others first.

    A method may also be named by ``method`` among the settings of ``config``, and a run by ``start_from``.

    Args:
        config: TOML file of settings, or the settings themselves.
        method: name of a published model or baseline.
        start_from: run folder whose settings go after the others, with the budget of a warm start.

    Raises:
        InputError: a file cannot be read, there is no such method, or the run is not one to start from.
    """
    found = []
    if config is not None:
        source = "config" if isinstance(config, Mapping) else str(config)
        values = dict(config) if isinstance(config, Mapping) else read_toml(local_path(config))
        values = {name.replace("-", "_"): value for name, value in values.items()}
        named = values.pop("method", None)
        method = named if method is None else method
        start_from = values.get("start_from") if start_from is None else start_from
        found.append((source, without_retired(values, source=source)))
    if method is not None:
        found.append((f"method {method}", dict(method_settings(str(method)))))
    if start_from is not None:
        path = local_path(start_from)
        if not (path / "config.toml").is_file():
            raise InputError(f"{path}: no run folder to start from")
        former = without_retired(settings_of(path), source=str(path / "config.toml"))
        if "baseline" in former:
            raise InputError(f"{path}: {former['baseline']} has no training that could be gone on with")
        found.append((str(path / "config.toml"), warm_budget(former)))
    return found


def layered_config(
    settings: Mapping[str, Any],
    *,
    config: str | Path | Mapping[str, Any] | None = None,
    method: str | None = None,
) -> TrainConfig:
    """Return checked settings: those given, then those of ``config``, then those of ``method``.

    Args:
        settings: by name, ``None`` for the default.
        config: see :func:`layers`.
        method: likewise.

    Raises:
        InputError: a setting is unknown, of a wrong type or out of range; the message names its source.
    """
    merged: dict[str, Any] = {}
    start_from = settings.get("start_from")
    for source, values in [*reversed(layers(config, method, start_from)), ("settings", settings)]:
        given = {name: value for name, value in values.items() if value is not None}
        TrainConfig.from_dict(given, source=source)  # names the source of what is unknown or of a wrong type
        kept = without_rivals(merged, given)
        merged = {name: value for name, value in kept.items() if name not in values} | given
    return validate(TrainConfig.from_dict(merged, source="settings"))
