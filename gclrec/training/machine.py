"""What a machine has for training and serving, what is wrong with it, and what would make it faster."""

from __future__ import annotations

import math
import os
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from packaging.requirements import Requirement

from gclrec import __version__
from gclrec.common.memory import cores, free_bytes
from gclrec.data.catalog.entries import CATALOG
from gclrec.data.catalog.loader import VARIABLE, cache_folder, locate
from gclrec.encoders.lightgcn import LightGCN
from gclrec.graph.bipartite import BipartiteGraph

LITTLE_MEMORY = 2 * 2**30
"""Bytes: training on five million pairs in large batches stays just below this (docs/how-to/scale.md)."""

CLEARLY = 1.2
"""A ratio of two times that noise on a quiet machine does not reach."""


@dataclass(frozen=True)
class Advice:
    """What is missing or slow, and what to do about it."""

    what: str
    mend: str


@dataclass(frozen=True)
class Machine:
    """What was found; plain values, so that it can be printed and sent as JSON."""

    versions: dict[str, str]
    packages: dict[str, str | None]
    extras: dict[str, list[str]]
    processor: dict[str, Any]
    devices: list[str]
    free_memory_bytes: int | None
    data: dict[str, Any]
    milliseconds: dict[str, float]
    advice: list[Advice] = field(default_factory=list)


def examine(*, measure: bool = True) -> Machine:
    """Look at this machine; takes a few seconds.

    Args:
        measure: whether to time a propagation and a matrix product as well.
    """
    advice: list[Advice] = []
    packages, extras = _packages(advice)
    processor = _processor(advice)
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if not devices and shutil.which("nvidia-smi"):
        build = torch.version.cuda or "the CPU only"
        advice.append(
            Advice(
                f"there is an NVIDIA driver, and torch {torch.__version__} (for {build}) sees no device",
                "install the build of torch for your CUDA release, https://pytorch.org/get-started",
            )
        )
    free = free_bytes()
    if free < LITTLE_MEMORY:
        advice.append(
            Advice(
                f"{free / 2**30:.1f} GiB of memory are free",
                "close other programs or raise the limit of the container; smaller --dim needs less",
            )
        )
    return Machine(
        versions={
            "gclrec": __version__,
            "python": platform.python_version(),
            "system": platform.platform(terse=True),
        },
        packages=packages,
        extras=extras,
        processor=processor,
        devices=devices,
        free_memory_bytes=None if math.isinf(free) else int(free),
        data=_data(advice),
        milliseconds=_times(advice, devices) if measure else {},
        advice=advice,
    )


def _packages(advice: list[Advice]) -> tuple[dict[str, str | None], dict[str, list[str]]]:
    """Return the versions of the packages that gclrec needs, and what each of its extras lacks."""
    packages: dict[str, str | None] = {}
    extras: dict[str, list[str]] = {}
    own = metadata.metadata("gclrec")
    for extra in ["", *(own.get_all("Provides-Extra") or [])]:
        for needed in map(Requirement, metadata.requires("gclrec") or []):
            applies = needed.marker is None or needed.marker.evaluate({"extra": extra})
            if needed.name == "gclrec" or not applies or (extra and needed.name in packages):
                continue
            try:
                found = metadata.version(needed.name)
            except metadata.PackageNotFoundError:
                found = None
            if extra:
                extras.setdefault(extra, []).extend([needed.name] if found is None else [])
            else:
                packages[needed.name] = found
            command = f"pip install '{needed.name}{needed.specifier}'"
            if found is None and not extra:
                advice.append(Advice(f"{needed.name} is not installed", command))
            elif found is not None and not needed.specifier.contains(found, prereleases=True):
                advice.append(Advice(f"{needed.name} is {found}, expected {needed.specifier}", command))
    return packages, extras


def _processor(advice: list[Advice]) -> dict[str, Any]:
    usable, threads = cores(), torch.get_num_threads()
    limits = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in os.environ}
    if threads > usable:
        advice.append(
            Advice(
                f"torch uses {threads} threads on {usable} cores",
                f"export OMP_NUM_THREADS={usable}",
            )
        )
    elif threads < usable and limits:
        named = ", ".join(f"{name}={value}" for name, value in limits.items())
        advice.append(
            Advice(
                f"torch uses {threads} of {usable} cores, since {named} is set",
                "unset it, unless several trainings share the machine (--jobs)",
            )
        )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > usable:
        advice.append(
            Advice(
                f"{load:.0f} processes want the {usable} cores of this machine",
                "wait, or expect that times are longer than those in the documentation",
            )
        )
    blas = np.show_config(mode="dicts")["Build Dependencies"].get("blas", {})
    return {
        "cores": usable,
        "threads": threads,
        **limits,
        "load": round(load, 2),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "blas of torch": "MKL" if torch.backends.mkl.is_available() else "not MKL",
        "blas of numpy": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
    }


def _data(advice: list[Advice]) -> dict[str, Any]:
    named = os.environ.get(VARIABLE)
    if named and not Path(named).expanduser().is_dir():
        advice.append(Advice(f"{VARIABLE} is {named}, which is no folder", f"correct it or unset {VARIABLE}"))
    cache = cache_folder()
    place = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not os.access(place, os.W_OK):
        advice.append(
            Advice(f"{place} cannot be written to, so nothing can be downloaded", "export XDG_CACHE_HOME=…")
        )
    found = []
    for name, entry in CATALOG.items():
        try:
            found += [name] if not entry.synthetic and locate(name) else []
        except ValueError as error:
            advice.append(Advice(str(error), "complete the folder or remove it"))
    return {
        VARIABLE: named,
        "cache": str(cache),
        "free_bytes": shutil.disk_usage(place).free,
        "data sets": found,
    }


def _times(advice: list[Advice], devices: list[str]) -> dict[str, float]:
    """Time one step's propagation and product, as they are and with one thread or half precision."""
    generator = torch.Generator().manual_seed(0)
    users, items, edges = 4_000, 4_000, 100_000
    pairs = torch.stack([torch.randint(size, (edges,), generator=generator) for size in (users, items)])
    graph = BipartiteGraph(users, items, pairs.unique(dim=1))
    encoder = LightGCN(users, items, dim=64)
    rows, catalogue = torch.randn(2048, 64, generator=generator), torch.randn(16_384, 64, generator=generator)
    threads = torch.get_num_threads()
    with torch.no_grad():
        times = {
            "propagation": _best(lambda: encoder(graph)),
            "product": _best(lambda: rows @ catalogue.T),
            "product, half precision": _best(lambda: rows.bfloat16() @ catalogue.bfloat16().T),
        }
        if threads > 1:
            torch.set_num_threads(1)
            try:
                times["propagation, one thread"] = _best(lambda: encoder(graph))
            finally:
                torch.set_num_threads(threads)
    if times.get("propagation, one thread", math.inf) * CLEARLY < times["propagation"]:
        advice.append(
            Advice(
                f"a propagation takes longer with {threads} threads than with one",
                "export OMP_NUM_THREADS=1, or fewer than now; other programs may hold the cores",
            )
        )
    if not devices and times["product, half precision"] * CLEARLY < times["product"]:
        ratio = times["product"] / times["product, half precision"]
        advice.append(
            Advice(f"products in half precision are {ratio:.1f} times as fast here", "--precision half")
        )
    return {name: round(value, 2) for name, value in times.items()}


def _best(call: Callable[[], object]) -> float:
    """Return the least of five times in milliseconds, after one call that is not timed."""
    call()
    least = math.inf
    for _ in range(5):
        start = time.perf_counter()
        call()
        least = min(least, 1000 * (time.perf_counter() - start))
    return least
