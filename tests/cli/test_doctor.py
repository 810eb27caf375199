"""``gclrec doctor`` finds what is there, and says what to do where something is missing or slow."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import torch

from gclrec.training import machine

from .conftest import Outcome


def test_it_prints_what_is_there(gclrec: Callable[..., Outcome]) -> None:
    outcome = gclrec("doctor", "--no-measure", "--json")
    assert outcome.code == 0
    values = outcome.values
    assert values["packages"]["torch"] == metadata.version("torch")
    assert values["extras"]["serve"] == []
    assert values["processor"]["threads"] == torch.get_num_threads()
    assert values["milliseconds"] == {}
    for name in ("versions", "packages", "extras", "processor", "devices", "memory", "data"):
        assert name in outcome.err
    for each in values["advice"]:
        assert f"- {each['what']}: {each['mend']}" in outcome.err


def test_it_measures(gclrec: Callable[..., Outcome]) -> None:
    times = gclrec("doctor", "--json").values["milliseconds"]
    assert {"propagation", "product", "product, half precision"} <= times.keys()
    assert all(value > 0 for value in times.values())


def advised() -> str:
    return "\n".join(f"{each.what}: {each.mend}" for each in machine.examine(measure=False).advice)


def test_what_is_wrong_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    version = metadata.version
    monkeypatch.setattr(machine, "cores", lambda: 64)
    monkeypatch.setattr(machine, "free_bytes", lambda: 2.0**30)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GCLREC_DATASETS", str(tmp_path / "nowhere"))
    monkeypatch.setattr(machine.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    def found(name: str) -> str:
        if name == "tqdm":
            raise metadata.PackageNotFoundError(name)
        return "1.0" if name == "polars" else version(name)

    monkeypatch.setattr(metadata, "version", found)
    told = advised()
    assert "of 64 cores, since OMP_NUM_THREADS=1" in told
    assert "1.0 GiB of memory are free" in told
    assert "nowhere, which is no folder: correct it or unset GCLREC_DATASETS" in told
    assert "there is an NVIDIA driver" in told
    assert "tqdm is not installed: pip install 'tqdm>=4.66'" in told
    assert "polars is 1.0, expected >=2.0: pip install 'polars>=2.0'" in told


def test_a_set_that_is_not_complete_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ml-100k").mkdir()
    monkeypatch.setenv("GCLREC_DATASETS", str(tmp_path))
    assert "not a complete ml-100k" in advised()


def test_too_many_threads_and_slow_ones_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 0)
    assert "threads on 0 cores: export OMP_NUM_THREADS=0" in advised()
    times = iter([9.0, 8.0, 2.0, 3.0])  # propagation, product, half precision, one thread
    monkeypatch.setattr(machine, "_best", lambda call: next(times))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: None)
    advice: list[machine.Advice] = []
    assert machine._times(advice, [])["propagation, one thread"] == 3.0
    slow, half = advice
    assert "takes longer with 2 threads than with one" in slow.what
    assert (half.what, half.mend) == (
        "products in half precision are 4.0 times as fast here",
        "--precision half",
    )


def test_unknown_memory(gclrec: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "free_bytes", lambda: math.inf)
    outcome = gclrec("doctor", "--no-measure", "--json")
    assert outcome.values["free_memory_bytes"] is None
    assert "free not known" in outcome.err
