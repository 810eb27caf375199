"""Trainings in several local processes at once, each with its share of the threads.

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
from typing import Any, TypeAlias

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

Process: TypeAlias = "subprocess.Popen[str]"

Train: TypeAlias = "Callable[[TrainConfig, Sequence[object]], object]"
"""Trains with some settings and calls ``on_epoch_end`` of some callbacks."""


class Workers:
    """Processes that train; made when they are first needed.

    Args:
        jobs: how many at most.

    Attributes:
        lock: held while callbacks are called; whatever is not safe in threads can take it too.
    """

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.lock = threading.RLock()
        self._free = free_bytes()
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
        """Check that the largest of some trainings fits into memory as often as there are processes.

        Args:
            trainings: a run folder, and settings in place of its own, of each.

        Raises:
            TooLargeError: it does not; says how many do.
        """
        peak = 0.0
        for folder, config in trainings:
            given = {} if config is None else {"settings": config.to_dict()}
            peak = max(peak, self._call("peak", (), folder=str(folder), **given))
        if peak * self.jobs > self._free:
            fitting = int(self._free // peak)
            change = f"give `jobs={fitting}`" if fitting else "give a smaller `dim`, or take less data"
            found = f"{spoken_bytes(peak)} each and {spoken_bytes(self._free)} are free"
            raise TooLargeError(f"{self.jobs} trainings at once need about {found}; {change}")

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
            processes, self._processes = self._processes, set()
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
            self._idle.put(process)

    def _started(self) -> Process:
        # The path of this process, so that the same modules are found, whatever the working folder holds.
        code = f"import sys; sys.path[:] = {sys.path!r}; from gclrec.experiments.worker import serve; serve()"
        share = str(max(1, torch.get_num_threads() // self.jobs))
        with self.lock:
            if self._stopped:
                raise InputError("stopped")
            process = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                encoding="utf-8",
                env={**os.environ, **dict.fromkeys(_THREADS, share)},
                start_new_session=True,  # an interrupt at the terminal is for this process alone
            )
            self._processes.add(process)
        return process

    def _talk(self, process: Process, task: Mapping[str, object], events: Callbacks) -> Any:
        tasks, told = process.stdin, process.stdout
        assert tasks is not None
        assert told is not None
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
def workers_of(jobs: int, callbacks: Iterable[object]) -> Iterator[Workers | None]:
    """Yield what trains in several processes, ``None`` for one training at a time, in this process.

    Args:
        jobs: trainings at once.
        callbacks: that are to be called.

    Raises:
        InputError: ``jobs`` is not positive, or a callback needs what stays in the other processes.
    """
    if jobs < 1:
        raise InputError(f"`jobs`: must be at least 1, got {jobs}")
    if jobs == 1:
        yield None
        return
    for event in _NOT_PASSED_ON:
        if Callbacks(callbacks).wants(event):
            raise InputError(
                f"`jobs`: a callback has {event}, which other processes do not call; use one job"
            )
    workers = Workers(jobs)
    try:
        yield workers
    finally:
        workers.stop()
