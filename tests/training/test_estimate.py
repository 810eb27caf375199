"""What a run will take is told before it starts, and it is refused where the memory does not suffice."""

from __future__ import annotations

import math

import pytest

from gclrec.api import fit_prepared
from gclrec.common import memory
from gclrec.common.errors import InputError
from gclrec.data.splits import Split
from gclrec.data.synthetic import make_synthetic
from gclrec.settings.sources import layered_config
from gclrec.training import estimate
from gclrec.training.estimate import estimated
from gclrec.training.prepare import TrainingData, prepare

SMALL = {"score": "dot", "dim": 8, "num_layers": 2, "epochs": 2, "batch_size": 512}


def prepared(**settings: object) -> TrainingData:
    dataset = make_synthetic(150, 120, 2500, seed=4)
    return prepare(layered_config(settings), dataset)


@pytest.mark.parametrize(
    "settings", [SMALL, SMALL | {"score": "calibrated"}, {"baseline": "item_knn"}], ids=str
)
def test_every_part_takes_time_and_memory(settings: dict[str, object]) -> None:
    found = estimated(prepared(**settings))
    assert all(found.seconds[part] > 0 for part in ("train", "validate", "test"))
    assert found.total == sum(found.seconds.values())
    assert found.steps == (0 if "baseline" in settings else 8)
    assert memory.resident_bytes() / 2 < found.peak_bytes <= found.available
    assert found.fits


def test_the_run_stays_what_it_is() -> None:
    data = prepared(**SMALL)
    before = fit_prepared(data)
    estimated(data)
    after = fit_prepared(data)
    assert before.figures == after.figures
    assert [line["loss/total"] for line in before.result.history] == [
        line["loss/total"] for line in after.result.history
    ]


def test_parts_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps after the first at their median, a validation for each epoch, a refit as long as the training."""
    clock = iter(range(10**9))
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: float(next(clock)))  # a second a look
    monkeypatch.setattr(estimate, "_step_seconds", lambda trainer, count: (10.0, 2.0))
    monkeypatch.setattr(estimate._Line, "of", lambda split, part, rank: estimate._Line(5.0, 3.0))
    found = estimated(prepared(**SMALL, refit=True, test_users=40, valid_users=30)).seconds
    assert found["train"] == pytest.approx(1 + 10 + 7 * 2, abs=0.01)
    assert found["validate"] == 2 * (1 + 5 + 3 * 30)
    assert found["test"] == 5 + 3 * 40
    assert found["refit"] == found["train"]
    calibrated = estimated(prepared(**SMALL | {"score": "calibrated", "valid_users": 30})).seconds["validate"]
    assert calibrated == 2 * (1 + 5 + 3 * 30 + 5 + 3 * 5 * (30 + 30))


def test_a_line_through_two_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not depend on the number of users is not multiplied by it."""
    split = prepared(**SMALL).split
    monkeypatch.setattr(estimate, "_USERS", 40)
    monkeypatch.setattr(estimate, "CPU_SCORES", 1)
    now = [0.0]
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: now[0])

    def rank(few: Split) -> int:
        users = len(set(few.valid.user.tolist()))
        now[0] += 7 + 0.5 * users
        return users

    line = estimate._Line.of(split, "valid", rank)
    assert (line.fixed, line.each) == (7, 0.5)
    assert line.at(1000) == 507


@pytest.mark.parametrize(
    ("settings", "advice"), [(SMALL, "give a smaller `dim` than 8"), ({"baseline": "gf_cf"}, "give `k_core`")]
)
def test_what_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], advice: str
) -> None:
    """Before anything is built if the tables alone are too large, else after a few steps."""
    data = prepared(**settings)
    monkeypatch.setattr(estimate, "available_bytes", lambda: 1000.0)
    for certain in (1.0, -math.inf):
        monkeypatch.setattr(estimate, "_certain_bytes", lambda config, split, certain=certain: certain)
        with pytest.raises(
            InputError, match=r"needs about \d\.\d GiB of memory and 0\.\d GiB are free"
        ) as caught:
            estimated(data)
        assert advice in str(caught.value)
        assert not estimated(data, force=True).fits
