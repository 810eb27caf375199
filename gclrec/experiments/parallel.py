"""Trainings in several processes at once, on this machine or in a Ray cluster.

The processes train and write run folders; callbacks, Optuna and everything else stay in this one. A process
takes one training after another. One that is killed takes the training that it had with it, and is replaced.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch

from gclrec.common.errors import CollapseWarning, DivergenceError, InputError, InputWarning, TooLargeError
from gclrec.common.memory import free_bytes
from gclrec.settings.config import TrainConfig
from gclrec.training.callbacks import Callbacks, StopTraining
from gclrec.training.estimate import spoken_bytes

_ERRORS = {kind.__name__: kind for kind in (DivergenceError, TooLargeError)}
_WARNINGS = {kind.__name__: kind for kind in (CollapseWarning, InputWarning)}
_NOT_PASSED_ON = ("on_trial", "on_best", "on_checkpoint", "on_end")
_PATIENCE = 5.0  # seconds that a process has to end after SIGTERM
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")

CODE = "from gclrec.experiments.worker import serve; serve()"
"""What a process that trains runs."""


class Process(Protocol):
    """A process that trains: what :class:`subprocess.Popen` has of it."""

    @property
    def stdin(self) -> Any:
        """Where tasks are written to, as text."""

    @property
    def stdout(self) -> Any:
        """Lines of what it says."""

    def poll(self) -> int | None:
        """Return its exit code, ``None`` while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code once it has ended."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def kill(self) -> None:
        """Send SIGKILL."""


class TrainingPlace(Protocol):
    """Where processes that train run."""

    @property
    def keeps(self) -> bool:
        """Whether a process is kept for the next training."""

    def start(self) -> Process:
        """Start one."""

    def provide(self, peak: float, jobs: int) -> None:
        """Provide ``peak`` bytes for each process from now on.

        Raises:
            TooLargeError: there is not so much memory.
        """

    def close(self) -> None:
        """Give back what belongs to no single process."""


class ThisMachine:
    """Processes of this machine, which share its threads and its memory.

    Args:
        jobs: how many there are at most.
    """

    keeps = True

    def __init__(self, jobs: int) -> None:
        self._threads = max(1, torch.get_num_threads() // jobs)
        self._free = free_bytes()

    def start(self) -> Process:
        """Start a process with its share of the threads."""
        # The path of this process, so that the same modules are found, whatever the working folder holds.
        return subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}; {CODE}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, **threads_of(self._threads)},
            start_new_session=True,  # an interrupt at the terminal is for this process alone
        )

    def provide(self, peak: float, jobs: int) -> None:
        """Check that the free memory suffices."""
        if peak * jobs > self._free:
            fitting = int(self._free // peak)
            change = f"give `jobs={fitting}`" if fitting else "give a smaller `dim`, or take less data"
            found = f"{spoken_bytes(peak)} each and {spoken_bytes(self._free)} are free"
            raise TooLargeError(f"{jobs} trainings at once need about {found}; {change}")

    def close(self) -> None:
        """Do nothing."""


def threads_of(count: int) -> dict[str, str]:
    """Return the variables of a process that computes with so many threads."""
    return dict.fromkeys(_THREADS, str(count))


Train: TypeAlias = "Callable[[TrainConfig, Sequence[object]], object]"
"""Trains with some settings and calls ``on_epoch_end`` of some callbacks."""


class Workers:
    """Processes that train; made when they are first needed.

    Args:
        jobs: how many at most.
        place: where they run; on this machine if ``None``.

    Attributes:
        lock: held while callbacks are called; whatever is not safe in threads can take it too.
    """

    def __init__(self, jobs: int, place: TrainingPlace | None = None) -> None:
        self.jobs = jobs
        self.lock = threading.RLock()
        self._place = ThisMachine(jobs) if place is None else place
        self._idle: queue.LifoQueue[Process | None] = queue.LifoQueue()
        self._processes: set[Process] = set()
        self._stopped = False
        for _ in range(jobs):
            self._idle.put(None)

    def run(self, folder: Path, callbacks: Iterable[object] = ()) -> None:
        """Train into a run folder; see :func:`~gclrec.training.recorder.fit_run`."""
        self._call("run", callbacks, folder=str(folder))

    def training_in(self, folder: Path) -> Train:
        """Return a function that trains on the pairs of a run folder; it can be called from several threads.

        Test pairs are left out, as by ``search.training_on``.
        """

        def train(config: TrainConfig, callbacks: Sequence[object]) -> None:
            self._call("trial", callbacks, folder=str(folder), settings=config.to_dict())

        return train

    def check_memory(self, trainings: Iterable[tuple[Path, TrainConfig | None]]) -> None:
        """Check that there is memory for the largest of some trainings in all processes at once.

        Args:
            trainings: a run folder, and settings in place of its own, of each.

        Raises:
            TooLargeError: it does not; says what does.
        """
        peak = 0.0
        for folder, config in trainings:
            given = {} if config is None else {"settings": config.to_dict()}
            peak = max(peak, self._call("peak", (), folder=str(folder), **given))
        self._place.provide(peak, self.jobs)

    def each(self, tasks: Mapping[str, Callable[[], None]]) -> None:
        """Do tasks in threads, as many at once as there are processes.

        What fails is told with an :class:`~gclrec.InputWarning`, and the others go on.

        Args:
            tasks: by the names that are told.

        Raises:
            TooLargeError: a task raised it; the others are ended.
            InputError: some tasks failed; names the first one.
        """
        failed: dict[str, InputError] = {}
        with ThreadPoolExecutor(self.jobs) as threads:
            try:
                futures = {threads.submit(do): name for name, do in tasks.items()}
                for future in as_completed(futures):
                    error = future.exception()
                    if isinstance(error, InputError) and not isinstance(error, TooLargeError):
                        failed[futures[future]] = error
                        with self.lock:
                            message = f"{futures[future]} failed: {error}"
                            warnings.warn(message, InputWarning, stacklevel=2)
                    elif error is not None:
                        raise error
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                self.stop()
                raise
        if failed:
            name, first = next(iter(failed.items()))
            raise InputError(
                f"{len(failed)} of {len(tasks)} failed ({name}: {first}); "
                "those that are done are kept, and the same command tries the others again"
            )

    def stop(self) -> None:
        """End all processes: with SIGTERM, and those that do not within seconds with SIGKILL."""
        with self.lock:
            self._stopped = True
            processes = list(self._processes)
        self._end(processes)
        self._place.close()

    def _end(self, processes: Iterable[Process]) -> None:
        self._processes -= set(processes)
        for process in processes:
            process.terminate()
        until = time.monotonic() + _PATIENCE
        for process in processes:
            try:
                process.wait(max(until - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _call(self, task: str, callbacks: Iterable[object], **arguments: object) -> Any:
        """Have a process do a task, call callbacks with what it tells, and return its result."""
        process = self._idle.get()
        try:
            if process is None or process.poll() is not None:
                process = self._started()
            return self._talk(process, {"task": task, "arguments": arguments}, Callbacks(callbacks))
        finally:
            if process is not None and not self._place.keeps:
                self._end([process])
                process = None
            self._idle.put(process)

    def _started(self) -> Process:
        with self.lock:
            if self._stopped:
                raise InputError("stopped")
            process = self._place.start()
            self._processes.add(process)
        return process

    def _talk(self, process: Process, task: Mapping[str, object], events: Callbacks) -> Any:
        tasks, told = process.stdin, process.stdout
        raised: BaseException | None = None

        def say(text: str) -> None:
            try:
                tasks.write(text + "\n")
                tasks.flush()
            except BrokenPipeError:
                pass  # it has ended, which reading shows

        say(json.dumps(task))
        for line in told:
            message = json.loads(line)
            if "event" in message:
                answer = "go on"
                try:
                    if raised is None:
                        with self.lock:
                            events.call(message["event"], *message["arguments"])
                except StopTraining:
                    answer = "stop"
                except BaseException as error:  # raised again once the process is idle
                    raised = error
                if message["event"] == "on_epoch_end":
                    say(answer if raised is None else "leave")
            elif "warning" in message:
                with self.lock:
                    warnings.warn(message["message"], _WARNINGS[message["warning"]], stacklevel=2)
            elif raised is not None:
                raise raised
            elif "error" in message:
                raise _ERRORS.get(message["error"], InputError)(message["message"])
            else:
                return message["result"]
        raise InputError(_ended(process.wait()))


def _ended(code: int) -> str:
    if code >= 0:
        return f"its process ended with exit code {code}"
    hint = "; there may not be enough memory for so many `jobs`" if code == -signal.SIGKILL else ""
    return f"its process was ended by {signal.Signals(-code).name}{hint}"


@contextmanager
def workers_of(
    jobs: int, callbacks: Iterable[object], cluster: Callable[[], TrainingPlace] | None = None
) -> Iterator[Workers | None]:
    """Yield what trains in several processes, ``None`` for one training at a time, in this process.

    Args:
        jobs: trainings at once.
        callbacks: that are to be called.
        cluster: makes the place where the processes run; on this machine if ``None``.

    Raises:
        InputError: ``jobs`` is not positive, a callback needs what stays in the other processes, or the
            cluster cannot be reached.
    """
    if jobs < 1:
        raise InputError(f"`jobs`: must be at least 1, got {jobs}")
    if jobs == 1 and cluster is None:
        yield None
        return
    for event in _NOT_PASSED_ON:
        if Callbacks(callbacks).wants(event):
            raise InputError(
                f"`jobs`: a callback has {event}, which other processes do not call; use one job"
            )
    workers = Workers(jobs, None if cluster is None else cluster())
    try:
        yield workers
    finally:
        workers.stop()
