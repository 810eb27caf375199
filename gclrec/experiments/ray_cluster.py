"""Processes that train on the machines of a Ray cluster (extra ``ray``)."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from gclrec.common.errors import InputError, TooLargeError
from gclrec.experiments.parallel import CODE, Process, threads_of
from gclrec.experiments.ray_host import Host
from gclrec.training.estimate import spoken_bytes

_ANSWER = 2.0  # seconds in which a host answers


class RayProcess:
    """A process on a machine of the cluster, as :class:`~gclrec.experiments.parallel.Process` has it.

    Args:
        host: handle of its :class:`~gclrec.experiments.ray_host.Host`.
    """

    def __init__(self, host: Any) -> None:
        self._host = host

    @property
    def stdin(self) -> RayProcess:
        """Itself."""
        return self

    @property
    def stdout(self) -> RayProcess:
        """Itself."""
        return self

    def write(self, text: str) -> None:
        """Write to the process."""
        if not self._ask("write", text, lost=False):
            raise BrokenPipeError

    def flush(self) -> None:
        """Do nothing: what is written is sent."""

    def __iter__(self) -> Iterator[str]:
        while line := self._ask("read", lost=""):
            yield line

    def poll(self) -> int | None:
        """Return its exit code, ``None`` while it runs."""
        code: int | None = self._ask("poll", lost=-signal.SIGKILL)
        return code

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended, and give its CPUs and memory back to the cluster."""
        import ray

        try:
            code: int = self._ask("wait", lost=-signal.SIGKILL, timeout=timeout)
        except ray.exceptions.GetTimeoutError:
            raise subprocess.TimeoutExpired("gclrec.experiments.worker", timeout or 0.0) from None
        ray.kill(self._host)
        return code

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        import ray

        try:
            self._ask("send", number, lost=None, timeout=_ANSWER)
        except ray.exceptions.GetTimeoutError:  # it still waits for its place
            ray.kill(self._host)

    def _ask(self, method: str, *arguments: Any, lost: Any, timeout: float | None = None) -> Any:
        """Return what a method of the host returns, ``lost`` if its machine or the cluster is gone."""
        import ray

        try:
            return ray.get(getattr(self._host, method).remote(*arguments), timeout=timeout)
        except ray.exceptions.GetTimeoutError:
            raise
        except ray.exceptions.RayError:
            return lost


class RayCluster:
    """A Ray cluster as the place of processes, each with CPUs, GPUs and memory declared.

    A process trains once, and waits where there is no room for it yet. It has as many CPUs and threads as
    ``OMP_NUM_THREADS`` says here, one if it says nothing.

    Args:
        address: of the cluster, as ``ray.init`` takes it.
        gpus: GPUs of a process.

    Raises:
        InputError: Ray is not installed, or there is no cluster at the address.
    """

    keeps = False

    def __init__(self, address: str, *, gpus: int = 0) -> None:
        try:
            import ray
        except ImportError:
            raise InputError("`ray`: Ray is not installed; pip install 'gclrec[ray]'") from None
        self._ours = not ray.is_initialized()
        if self._ours:
            with _signals_kept():
                try:
                    ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
                except (ConnectionError, ValueError, RuntimeError) as error:
                    reason = " ".join(str(error).split())[:200]
                    raise InputError(f"`ray`: there is no cluster at {address!r} ({reason})") from None
        threads = os.environ.get("OMP_NUM_THREADS", "")
        self._threads = max(1, int(threads)) if threads.isdecimal() else 1
        self._resources: dict[str, Any] = {"num_cpus": self._threads, "num_gpus": gpus}

    def start(self) -> Process:
        """Start a process where there is room for it."""
        import ray

        host = ray.remote(Host).options(max_concurrency=4, **self._resources)
        return RayProcess(host.remote(CODE, threads_of(self._threads)))

    def provide(self, peak: float, jobs: int) -> None:  # noqa: ARG002 - what has no room waits
        """Declare the memory of each process.

        Raises:
            TooLargeError: no machine of the cluster has so much.
        """
        import ray

        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call, unused-ignore]
        fitting = [each.get("memory", 0.0) for each in machines if each.get("CPU", 0.0) >= self._threads]
        largest = max(fitting, default=math.inf)  # without any, one may still join
        if peak > largest:
            found = (
                f"{spoken_bytes(peak)}, and the largest machine of the cluster has {spoken_bytes(largest)}"
            )
            raise TooLargeError(f"a training needs about {found}; give a smaller `dim`, or take less data")
        self._resources["memory"] = int(peak)

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        if self._ours:
            ray.shutdown()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep how this process takes SIGTERM, which Ray changes."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)


def cluster_at(address: str | None, device: str) -> Callable[[], RayCluster] | None:
    """Return what joins the cluster at an address, if there is one, for trainings on some device."""
    return None if address is None else partial(RayCluster, address, gpus=int(device == "cuda"))
