"""What outlives a step: queued items, temperatures and the table of exposures are all in the run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gclrec.common.errors import InputError
from gclrec.runs.checkpoint import load_state
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.settings.validation import validate
from gclrec.training.recorder import fit_run

from .test_training import SMALL, StopAfter, checkerboard, pairs_of


def shown() -> object:
    """Return pairs of the other colour for every second user, and one validation pair."""
    user = np.arange(0, 24, 2)
    valid = checkerboard().valid
    return pairs_of(24, 16, np.append(user, valid.user[:1]), np.append((user + 1) % 16, valid.item[:1]))


@pytest.mark.parametrize(
    "settings",
    [
        {"negatives": "queue", "queue_size": 30, "logq": True, "loss_temperature": "learned"},
        {"negatives": "exposed", "exposed": "shown.csv", "loss_temperature": "adaptive"},
    ],
    ids=["queue", "exposed"],
)
@pytest.mark.parametrize("phase", ["select", "refit"])
def test_a_run_goes_on_from_its_folder_alone(tmp_path: Path, phase: str, settings: dict[str, object]) -> None:
    config = validate(
        TrainConfig(
            loss="softmax", epochs=5, learning_rate=0.02, aug="none", refit=True, **(SMALL | settings)
        )
    )
    exposed = shown() if config.negatives == "exposed" else None
    straight = fit_run(RunFolder.create(tmp_path / "a", config.to_dict(), checkerboard(), exposed))
    broken = RunFolder.create(tmp_path / "b", config.to_dict(), checkerboard(), exposed)
    with pytest.raises(KeyboardInterrupt):
        fit_run(broken, callbacks=[StopAfter({"select": 3, "refit": 1}[phase], phase)])
    resumed = fit_run(RunFolder.open(broken.path))
    assert resumed.values["metrics"] == straight.values["metrics"]
    first, second = (load_state(tmp_path / name / "checkpoint" / "last.safetensors")[0] for name in "ab")
    assert first.keys() == second.keys()
    assert all((first[key] == second[key]).all() for key in first)
    changing = [line["temperature/loss_temperature"] for line in straight_lines(tmp_path / "a")]
    assert len(set(changing)) > 2  # it is logged, and moves
    if config.negatives == "exposed":
        (broken.path / "split" / "exposed.parquet").unlink()
        with pytest.raises(InputError, match=r"exposed\.parquet"):
            fit_run(broken)


def straight_lines(path: Path) -> list[dict[str, float]]:
    return RunFolder(path).metrics()
