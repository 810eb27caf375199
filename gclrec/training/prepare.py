"""From settings and a data set to what a run is trained on."""

from __future__ import annotations

from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig


def config_of(folder: RunFolder) -> TrainConfig:
    """Return the settings of a run folder, checked.

    Raises:
        InputError: ``config.toml`` is missing or damaged, or a setting is unknown or out of range.
    """
    return TrainConfig.from_dict(folder.settings(), source=str(folder.path / "config.toml"))
