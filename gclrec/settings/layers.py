"""Where settings come from, and which source goes before which."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gclrec.common.errors import InputError
from gclrec.common.files import read_toml
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import method_settings
from gclrec.settings.validation import validate


def layers(
    config: str | Path | Mapping[str, Any] | None = None, method: str | None = None
) -> list[tuple[str, dict[str, Any]]]:
    """Return settings with their source, the source that goes before the others first.

    A method may also be named by ``method`` among the settings of ``config``.

    Args:
        config: TOML file of settings, or the settings themselves.
        method: name of a published model or baseline.

    Raises:
        InputError: the file cannot be read, or there is no such method.
    """
    found = []
    if config is not None:
        source = "config" if isinstance(config, Mapping) else str(config)
        values = dict(config) if isinstance(config, Mapping) else read_toml(Path(config))
        values = {name.replace("-", "_"): value for name, value in values.items()}
        named = values.pop("method", None)
        method = named if method is None else method
        found.append((source, values))
    if method is not None:
        found.append((f"method {method}", dict(method_settings(str(method)))))
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
        InputError: a setting is unknown or out of range.
    """
    merged: dict[str, Any] = {}
    for source, values in [*reversed(layers(config, method)), ("settings", dict(settings))]:
        known = TrainConfig.__dataclass_fields__
        for name in values:
            if name not in known:
                raise InputError(f"{source}: unknown setting {name!r}{_close(name, known)}")
        merged |= values
    given = {name: value for name, value in merged.items() if value is not None}
    return validate(TrainConfig.from_dict(given, source="settings"))


def _close(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""
