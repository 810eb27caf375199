"""Small forms of the campaigns on processes; figures of longer ones are in docs/studies/reliability.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parents[2] / "scripts" / "torture"
pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="Windows has other signals and no such limits"
)


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TORTURE))


def test_killed_commands_lose_nothing() -> None:
    import kill

    assert kill.campaign(1, seed=0, names=["add-items"]) == {"add-items": {"rounds": 1, "faults": 0}}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not heed the limit of memory")
def test_limited_commands_end_in_one_line() -> None:
    """One command of each kind of limit: memory, files, and a disk where one may be mounted."""
    import limits

    found = limits.campaign(3, seed=3, names=["recommend", "export", "data"])
    assert sum(found.pop("ended").values()) == 3
    assert all(count == {"rounds": 1, "faults": 0} for count in found.values())


def test_a_signalled_training_goes_on() -> None:
    import signals

    found = signals.campaign(1, seed=5)
    assert (found["signals"], found["faults"]) == (1, 0)


def test_processes_at_once_lose_nothing() -> None:
    import concurrency

    found = concurrency.campaign(1, seed=0)
    assert (found["lost"], found["faults"]) == (0, 0)


def test_a_training_whose_process_is_killed_goes_on() -> None:
    import ranks

    found = ranks.campaign(1, seed=3)
    assert (found["rounds"], found["faults"]) == (1, 0)


def test_a_service_answers_as_python_does_and_loses_nothing() -> None:
    pytest.importorskip("uvicorn")
    import serving

    found = serving.campaign(3, seed=0, kills=1)
    assert (found["faults"], found["kills"]) == (0, 1)
    assert found["compared"] >= 48
    assert found["feedback"] > 0
