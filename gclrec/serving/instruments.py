"""Counters of all workers in files that they map, and their sum as Prometheus reads it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper ends of the buckets of request durations, in seconds."""

STATUSES = (200, 204, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 500, 503, 507)

_TOTALS = ("feedback", "users", "reloads", "failed_reloads")


class Instruments:
    """Counts the requests of one worker, beside the files of the other workers.

    Args:
        folder: of these files; see :func:`cleared`.
        endpoints: names of the addresses.
    """

    def __init__(self, folder: Path, endpoints: Sequence[str]) -> None:
        self._folder, self._endpoints = folder, {name: place for place, name in enumerate(endpoints)}
        folder.mkdir(parents=True, exist_ok=True)
        self._width = len(STATUSES) + len(BUCKETS) + 2
        self._size = len(endpoints) * self._width + len(_TOTALS)
        path = folder / f"{os.getpid()}-{time.monotonic_ns()}.f8"
        mapped = np.memmap(path, dtype=np.float64, mode="w+", shape=(self._size,))
        self._numbers: npt.NDArray[np.float64] = mapped
        self._buckets = np.array(BUCKETS)

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        start = self._endpoints[endpoint] * self._width
        numbers = self._numbers
        numbers[start + STATUSES.index(status)] += 1
        first = start + len(STATUSES)
        numbers[first + int(self._buckets.searchsorted(seconds))] += (
            1  # the last one: slower than all buckets
        )
        numbers[first + len(BUCKETS) + 1] += seconds

    def count(self, total: str, number: int = 1) -> None:
        """Add to one of the totals: feedback, users, reloads, failed_reloads."""
        self._numbers[_TOTALS.index(total) - len(_TOTALS)] += number

    def _sum(self) -> npt.NDArray[np.float64]:
        total = np.zeros(self._size)
        for path in self._folder.glob("*.f8"):
            if path.stat().st_size == total.nbytes:
                total += np.fromfile(path, dtype=np.float64)
        return total

    def latency(self, endpoint: str) -> dict[str, float]:
        """Return the number of requests of an address, and upper bounds of its quantiles, in milliseconds."""
        start = self._endpoints[endpoint] * self._width + len(STATUSES)
        counts = self._sum()[start : start + len(BUCKETS) + 1]
        found = {"requests": float(counts.sum())}
        for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)):
            if counts.sum():
                place = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
                found[name] = 1000 * (*BUCKETS, 60.0)[place]
        return found

    def text(self, gauges: Mapping[str, tuple[str, float]]) -> str:
        """Return all counters in the text format of Prometheus.

        Args:
            gauges: further values by name, each with its help.
        """
        total = self._sum()
        lines = [
            "# HELP gclrec_requests_total Requests by address and status.",
            "# TYPE gclrec_requests_total counter",
        ]
        for name, place in self._endpoints.items():
            for at, status in enumerate(STATUSES):
                value = total[place * self._width + at]
                if value:
                    lines.append(f'gclrec_requests_total{{endpoint="{name}",status="{status}"}} {value:.0f}')
        lines += [
            "# HELP gclrec_request_seconds Time from the first byte of a request to its answer.",
            "# TYPE gclrec_request_seconds histogram",
        ]
        for name, place in self._endpoints.items():
            start = place * self._width + len(STATUSES)
            counts = np.cumsum(total[start : start + len(BUCKETS) + 1])
            if not counts[-1]:
                continue
            for bound, value in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                lines.append(f'gclrec_request_seconds_bucket{{endpoint="{name}",le="{bound}"}} {value:.0f}')
            seconds = total[start + len(BUCKETS) + 1]
            lines.append(f'gclrec_request_seconds_sum{{endpoint="{name}"}} {seconds:.6f}')
            lines.append(f'gclrec_request_seconds_count{{endpoint="{name}"}} {counts[-1]:.0f}')
        helps = (
            "Interactions told as feedback.",
            "Users answered.",
            "Versions loaded.",
            "Loads that failed.",
        )
        for at, (name, about) in enumerate(zip(_TOTALS, helps, strict=True)):
            lines += [f"# HELP gclrec_{name}_total {about}", f"# TYPE gclrec_{name}_total counter"]
            lines.append(f"gclrec_{name}_total {total[at - len(_TOTALS)]:.0f}")
        for name, (about, number) in gauges.items():
            lines += [
                f"# HELP gclrec_{name} {about}",
                f"# TYPE gclrec_{name} gauge",
                f"gclrec_{name} {number:g}",
            ]
        return "\n".join(lines) + "\n"


def cleared(folder: Path) -> Path:
    """Return the folder of counters, emptied: a service begins to count when it starts."""
    for path in folder.glob("*.f8") if folder.is_dir() else ():
        path.unlink(missing_ok=True)
    return folder
