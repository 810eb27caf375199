"""The estimate in ``gclrec data describe`` and before a training."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import QUICK, Run


@pytest.mark.parametrize("method", ["lightgcn", "popularity"])
def test_described_with_an_estimate(gclrec: Run, clicks: Path, method: str) -> None:
    outcome = gclrec("data", "describe", clicks, "--estimate", "--method", method, "--json")
    found = outcome.values["estimate"]
    assert found["seconds"] == pytest.approx(sum(found["parts"].values()))
    assert found["method"] == method
    assert found["fits"]
    assert (found["steps"] > 0) == (method == "lightgcn")
    assert "peak memory" in outcome.err


def test_a_method_without_an_estimate(gclrec: Run, clicks: Path) -> None:
    assert "--method is about --estimate" in gclrec("data", "describe", clicks, "--method", "mf").error


def test_told_before_a_large_training(
    gclrec: Run, clicks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = ("train", "--dataset", clicks, *QUICK, "--run")
    assert "by a few steps" not in gclrec(*train, tmp_path / "small").out
    monkeypatch.setattr("gclrec.cli.train.WORTH", 1)
    assert "GiB, by a few steps on this machine" in gclrec(*train, tmp_path / "large").out
    monkeypatch.setattr("gclrec.training.estimate.available_bytes", lambda: 1e6)
    refused = gclrec(*train, tmp_path / "refused").error
    assert "the run needs about" in refused
    assert "0.0 GiB are free; give a smaller --dim than 8" in refused
    assert not (tmp_path / "refused").exists()
    assert gclrec(*train, tmp_path / "forced", "--force").code == 0
