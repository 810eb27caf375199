"""One training on several processes, each with some of the embedding dimensions.

Propagation is linear and acts on each dimension alone, so every process propagates its own columns of the
vectors over the whole graph and nothing is exchanged for it; so does Adam. What is exchanged are rows: every
process gets all columns of the batch's rows, computes the loss as one process would, and keeps the gradient
of its own columns. All draw the same batches, negatives and views from the same seed. The first process
evaluates and writes.

The processes are started by ``torchrun`` or whatever else sets ``RANK``, ``WORLD_SIZE``, ``MASTER_ADDR`` and
``MASTER_PORT``.
"""

from __future__ import annotations

import copy
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gclrec.common.errors import InputError
from gclrec.contrast import SSL
from gclrec.encoders import ENCODERS
from gclrec.encoders.base import Dimensions
from gclrec.losses.temperature import parse_temperature
from gclrec.settings.config import TrainConfig
from gclrec.training.model import Model

T = TypeVar("T")

_TABLES = ("users", "items")

_JOINING = timedelta(seconds=40)  # in which all processes have to join


class Processes:
    """The processes of a training, seen from one of them.

    Args:
        rank: the number of this process, from 0.
        count: how many there are.
        group: what they talk in; the usual one if ``None``.
    """

    def __init__(self, rank: int, count: int, group: dist.ProcessGroup | None = None) -> None:
        self.rank, self.count, self.group = rank, count, group

    @property
    def first(self) -> bool:
        """Whether this is the process that evaluates and writes."""
        return self.rank == 0

    def columns(self, dim: int) -> Dimensions:
        """Return the dimensions that this process holds."""
        width = dim // self.count
        return Dimensions(self.rank * width, (self.rank + 1) * width, dim)

    def divide(self, model: Model) -> Dimensions:
        """Keep the columns of this process of a model that was made with all, and return which they are."""
        encoder = cast("nn.Module", model.encoder)
        columns = self.columns(model.encoder.layer_zero[1].shape[1])
        for name in _TABLES:
            table = getattr(encoder, name)
            if isinstance(table, nn.Parameter):
                setattr(encoder, name, nn.Parameter(columns.of(table.detach()).clone()))
            else:
                setattr(encoder, name, columns.of(table))
        model.objective.summed = self.total
        return columns

    # -- in a step -------------------------------------------------------------------------------

    def gather(self, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows of users and of items with the columns of all processes, with their gradient.

        Args:
            users: ``(B, D / P)``, the same rows in every process.
            items: ``(N, D / P)``, likewise.
        """
        rows: Tensor = _Gather.apply(torch.cat([users, items]), self)  # type: ignore[no-untyped-call]
        whole_users, whole_items = rows.split((len(users), len(items)))
        return whole_users, whole_items

    def total(self, part: Tensor) -> Tensor:
        """Return the sum over the processes of a scalar; the gradient of each is that of its own part."""
        return cast("Tensor", _Total.apply(part, self))  # type: ignore[no-untyped-call]

    def side_by_side(self, columns: Tensor) -> Tensor:
        """Return the columns of all processes, ``(N, D)``."""
        columns = columns.contiguous()
        parts = [torch.empty_like(columns) for _ in range(self.count)]
        with self._talking():
            dist.all_gather(parts, columns, group=self.group)
        return torch.cat(parts, dim=1)

    # -- between steps ---------------------------------------------------------------------------

    def share(self, make: Callable[[], T]) -> T:
        """Return what the first process makes, in all of them."""
        made = [make() if self.first else None]
        with self._talking():
            dist.broadcast_object_list(made, src=0, group=self.group)
        return cast("T", made[0])

    def each(self, make: Callable[[], T]) -> T:
        """Return what this process makes, once it is known that all could.

        Raises:
            InputError: in the first process, the error of the first one that could not.
            SystemExit: in the others, with the exit code of bad input.
        """
        made, error = None, None
        try:
            made = make()
        except (InputError, OSError) as raised:
            error = raised
        said: list[str | None] = [None] * self.count
        with self._talking():
            dist.all_gather_object(said, None if error is None else str(error), group=self.group)
        if self.first and error is not None:
            raise error
        for rank, text in enumerate(said):
            if text is not None:
                if self.first:
                    raise InputError(f"process {rank}: {text}")
                raise SystemExit(2)
        return cast("T", made)

    def collected(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors of a training with the columns of all, in the first process; nothing in others."""
        found = {
            name: self._on_first(tensor) if _is_divided(name, tensor) else tensor
            for name, tensor in tensors.items()
        }
        return {name: tensor for name, tensor in found.items() if tensor is not None} if self.first else {}

    def distributed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors that the first process has, with the columns of this one."""
        shapes = self.share(
            lambda: {
                name: (tuple(tensor.shape), tensor.dtype)
                for name, tensor in tensors.items()
                if _is_divided(name, tensor)
            }
        )
        found = self.share(lambda: {name: x.cpu() for name, x in tensors.items() if name not in shapes})
        for name, (shape, dtype) in shapes.items():
            whole = tensors[name].contiguous() if self.first else torch.empty(shape, dtype=dtype)
            with self._talking():
                dist.broadcast(whole, src=0, group=self.group)
            found[name] = self.columns(shape[1]).of(whole).clone()
        return found

    def whole(self, model: Model) -> Model | None:
        """Return the model with all dimensions, in the first process; the other parts are those given."""
        encoder = cast("nn.Module", model.encoder)
        tables = {name: getattr(encoder, name) for name in _TABLES}
        whole = {
            name: self._on_first(table.detach())
            for name, table in tables.items()
            if isinstance(table, nn.Parameter)
        }
        if not self.first:
            return None
        twin = copy.copy(encoder)
        twin._parameters = {**encoder._parameters}
        twin._buffers = {**encoder._buffers}
        for name, table in whole.items():
            twin._parameters[name] = nn.Parameter(cast("Tensor", table))
        if "users" not in whole:  # zeros, which take no memory
            twin._buffers["users"] = tables["users"][:, :1].expand(-1, twin.get_parameter("items").shape[1])
        return Model(model.graph, twin, model.objective, model.scoring)

    def _on_first(self, columns: Tensor) -> Tensor | None:
        """Return the columns of all processes side by side, in the first process."""
        columns = columns.contiguous()
        parts = [torch.empty_like(columns) for _ in range(self.count)] if self.first else None
        with self._talking():
            dist.gather(columns, parts, dst=0, group=self.group)
        return None if parts is None else torch.cat(parts, dim=1)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:  # gloo has no type of its own for a connection that is closed
            raise ConnectionError(
                f"process {self.rank}: another process of this training has ended, or cannot be reached"
            ) from error


def _is_divided(name: str, tensor: Tensor) -> bool:
    """Return whether a tensor of a training has a column for each dimension: tables and moments of Adam."""
    moments = name.removeprefix("adam.")
    return tensor.dim() == 2 and any(
        moments == f"encoder.{table}" or moments.startswith(f"encoder.{table}.") for table in _TABLES
    )


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, processes: Processes) -> Tensor:
        whole = processes.side_by_side(rows)
        ctx.columns = processes.columns(whole.shape[1])
        return whole

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return ctx.columns.of(grads[0]), None


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, processes: Processes) -> Tensor:  # noqa: ARG004
        total = part.detach().clone()
        with processes._talking():
            dist.all_reduce(total, group=processes.group)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return grads[0], None


@contextmanager
def joined() -> Iterator[Processes | None]:
    """Join the other processes of a training while the block runs; yield ``None`` where this is the only one.

    Raises:
        InputError: the environment says that there are others, and not where.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        yield None
        return
    try:
        _wait_for_first()
        dist.init_process_group("gloo", timeout=_JOINING)
        group = dist.new_group()  # with the usual timeout, which outlasts an evaluation
    except (ValueError, RuntimeError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(f"WORLD_SIZE is {count}, and the processes cannot join ({first})") from error
    processes = Processes(dist.get_rank(), dist.get_world_size(), group)
    try:
        yield processes
        with processes._talking():
            dist.barrier(group=processes.group)  # what was sent last has arrived
    finally:
        dist.destroy_process_group()


def _wait_for_first() -> None:
    """Wait until the first process listens; PyTorch waits up to twice as long, and prints a stack of C++.

    Raises:
        OSError: it does not within the time for joining.
    """
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT", "")
    if os.environ.get("RANK", "0") == "0" or not host or not port.isdecimal():
        return
    until = time.monotonic() + _JOINING.total_seconds()
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1.0).close()
        except OSError as error:
            if time.monotonic() > until:
                raise OSError(f"the first process cannot be reached at {host}:{port}: {error}") from None
            time.sleep(0.1)
        else:
            return


def each(processes: Processes | None, make: Callable[[], T]) -> T:
    """Return what this process makes, once it is known that all could; see :meth:`Processes.each`."""
    return make() if processes is None else processes.each(make)


def check_divisible(config: TrainConfig, count: int) -> None:
    """Check that several processes can share the dimensions of a training.

    Raises:
        InputError: they cannot; names the setting to change.
    """
    several = f"{count} processes"
    if config.pilot:
        raise InputError(f"--method: auto tries its recipes in one process; name a method to use {several}")
    if config.baseline is not None:
        raise InputError(f"--baseline: {config.baseline} is fitted by one process, not by {several}")
    if not ENCODERS[config.encoder].by_columns:
        fitting = ", ".join(name for name, kind in ENCODERS.items() if kind.by_columns)
        raise InputError(
            f"--encoder: {config.encoder} mixes dimensions, which {several} share; use {fitting}"
        )
    if config.dim % count:
        raise InputError(f"--dim: {several} cannot share {config.dim} dimensions equally")
    if config.device == "cuda":
        raise InputError(f"--device: {several} train on CPUs")
    settings = config.arguments("encoder")
    if config.attributes != "none":
        raise InputError(f"--attributes: {config.attributes} needs all dimensions, which {several} share")
    if settings.get("layer_weights") == "learned":
        raise InputError(f"--layer-weights: learned needs all dimensions, which {several} share")
    temperature = config.arguments("loss").get("temperature", 1.0)
    if parse_temperature(temperature)[0] == "adaptive":
        raise InputError(f"--loss-temperature: adaptive needs all dimensions, which {several} share")
    if config.contrasts and not SSL[config.ssl].of_rows:
        fitting = ", ".join(name for name, kind in SSL.items() if kind.of_rows)
        raise InputError(f"--ssl: {config.ssl} needs whole tables, which {several} share; use {fitting}")
    if config.contrasts and "infonce" in config.parts("ssl") and config.ssl_negatives == "all":
        raise InputError(f"--ssl-negatives: all needs whole tables, which {several} share")
