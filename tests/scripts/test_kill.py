"""Small forms of the campaigns on processes; figures of longer ones are in docs/reliability.md."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

TORTURE = Path(__file__).resolve().parents[2] / "scripts" / "torture"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_commands_lose_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TORTURE))
    import kill

    assert kill.campaign(1, seed=0, names=["add-items"]) == {"add-items": {"kills": 1, "faults": 0}}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other signals")
def test_a_signalled_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TORTURE))
    import signals

    found = signals.campaign(1, seed=5)
    assert (found["signals"], found["faults"]) == (1, 0)
