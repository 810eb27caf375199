"""Those who are told how a run goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from gclrec.common.errors import InputError


class Listener(Protocol):
    """Is told how a run goes, such as a progress bar."""

    def phase(self, name: str, first_epoch: int, epochs: int) -> None:
        """Hear that ``select`` or ``refit`` begins, at which epoch and up to which."""

    def batch(self, done: int, count: int, loss: dict[str, float]) -> None:
        """Hear how far the epoch is and the mean loss parts so far."""

    def epoch(self, record: dict[str, Any], best_epoch: int | None) -> None:
        """Hear what the epoch gave: the line of ``metrics.jsonl``."""


class Silent:
    """A listener that does nothing."""

    def phase(self, name: str, first_epoch: int, epochs: int) -> None:
        """Ignore it."""

    def batch(self, done: int, count: int, loss: dict[str, float]) -> None:
        """Ignore it."""

    def epoch(self, record: dict[str, Any], best_epoch: int | None) -> None:
        """Ignore it."""


class Scalars:
    """Writes every epoch's figures as TensorBoard scalars and passes everything on.

    Args:
        folder: where the event file goes.
        following: the listener that hears everything too.

    Raises:
        InputError: the package ``tensorboard`` is not installed.
    """

    def __init__(self, folder: Path, following: Listener) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError('--tensorboard needs an extra: pip install "gclrec[tensorboard]"') from error
        self._writer: Any = SummaryWriter(str(folder))
        self._following = following
        self._phase = ""

    def phase(self, name: str, first_epoch: int, epochs: int) -> None:
        """Remember the phase: a refit's curves stand beside the others."""
        self._phase = "refit/" if name == "refit" else ""
        self._following.phase(name, first_epoch, epochs)

    def batch(self, done: int, count: int, loss: dict[str, float]) -> None:
        """Pass it on."""
        self._following.batch(done, count, loss)

    def epoch(self, record: dict[str, Any], best_epoch: int | None) -> None:
        """Write the figures at this epoch."""
        for name, value in record.items():
            if isinstance(value, float):
                self._writer.add_scalar(self._phase + name, value, record["epoch"])
        self._writer.flush()
        self._following.epoch(record, best_epoch)
