"""A step on a GPU, as far as a machine without one can tell: where tensors lie, and where it waits."""

from __future__ import annotations

import re
from pathlib import Path

import gpu_check
import pytest
import torch
from gpu_check import TRAINED, SameDraws, branches_of_gpus, small_trainer, steps_of
from host_waits import HostWaits

DATA = "synthetic-60x40x600"
DOCS = Path(__file__).parents[2] / "docs"


def documented() -> dict[str, int]:
    """Return the waits of a step of each method that the docs state."""
    (page,) = DOCS.rglob("performance.md")
    lines = re.findall(r"^\| `(\w+)` \| (\d+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: int(count) for name, count in lines}


@pytest.mark.parametrize("method", TRAINED)
def test_every_tensor_of_a_step_lies_on_the_device_of_the_graph(method: str) -> None:
    """A tensor that is made without a device lies elsewhere and cannot be mixed with the others."""
    trainer = small_trainer(method, DATA, torch.device("cpu"))
    with branches_of_gpus(), torch.device("meta"):
        losses, gradient = steps_of(trainer, 2)
    assert len(losses) == 2
    assert torch.isfinite(torch.tensor(losses)).all()
    assert gradient.device.type == "cpu"
    assert gradient.any()
    with branches_of_gpus(), torch.device("meta"):
        assert torch.isfinite(trainer.model.embeddings().users).all()


def test_a_tensor_without_a_device_is_found() -> None:
    with torch.device("meta"), pytest.raises(RuntimeError, match="meta"):
        float(torch.zeros(2).sum() + torch.ones(2, device="cpu").sum())


@pytest.mark.parametrize("method", TRAINED)
def test_a_step_waits_as_often_as_the_docs_state(method: str) -> None:
    with branches_of_gpus():
        counted, warned = gpu_check.waits_of(small_trainer(method, DATA, torch.device("cpu")))
    assert counted <= documented()[method] <= counted + 3  # some loops depend on the draws
    assert warned is None


def test_what_is_counted() -> None:
    x = torch.arange(6.0)
    with HostWaits() as waits:
        x.sum().item()
        bool(x.any())
        x.tolist()
        x.cpu()
        x[x > 2]
        x.nonzero()
        torch.unique(x)
        x.repeat_interleave(torch.ones(6, dtype=torch.int64))
        x[x.long()] + x.cumsum(0).masked_fill(x > 2, 0.0)  # what a GPU does on its own
        x.repeat_interleave(torch.ones(6, dtype=torch.int64), output_size=6)
    expected = {"_local_scalar_dense": 2, "tolist": 1, "cpu": 1, "index": 1, "nonzero": 1, "_unique2": 1}
    assert waits.counts == expected | {"repeat_interleave": 1}
    x.sum().item()
    assert waits.counts.total() == 8


@pytest.mark.parametrize("method", ["sgl_rw", "xsimgcl", "graphcl", "swav"])
def test_draws_on_the_cpu_are_those_of_the_cpu(method: str) -> None:
    def losses() -> list[float]:
        return steps_of(small_trainer(method, DATA, torch.device("cpu")), 3)[0]

    with branches_of_gpus():
        expected = losses()
        with SameDraws():
            assert losses() == expected
    with branches_of_gpus(), SameDraws(), torch.random.fork_rng():
        torch.manual_seed(9)  # nothing is drawn from the global generator
        assert losses() == expected


def test_the_script(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    small = ["--small", DATA, "--dataset", DATA, "--steps", "2", "--dim", "4", "--timed", "lightgcn"]
    with pytest.raises(SystemExit) as ended:
        gpu_check.app([*small, "--device", "cpu", "--methods", "sgl"])
    assert ended.value.code == 0
    assert '"wrong": []' in capsys.readouterr().out.splitlines()[-1]
    monkeypatch.setattr(gpu_check, "LOSS_TOLERANCE", -1.0)
    with pytest.raises(SystemExit) as ended:
        gpu_check.app([*small, "--device", "cpu", "--methods", "sgl"])
    assert ended.value.code == 1
    if not torch.cuda.is_available():
        with pytest.raises(SystemExit, match="no CUDA device is available"):
            gpu_check.app(small)
