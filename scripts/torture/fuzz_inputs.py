"""Inputs for ``fuzz.py`` by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from fuzz_cases import Case, Random
from fuzz_hurt import HOSTILE, hostile_case
from fuzz_runs import run_case
from fuzz_tables import attributes_case, columnar_case, ids_case, pairs_case, settings_case, typed_case

_TABLES = (pairs_case, attributes_case, ids_case, columnar_case, typed_case, typed_case, typed_case)
KINDS: tuple[Callable[[Random, Path], Case], ...] = (*_TABLES, settings_case, *_TABLES, run_case)
"""Kinds of inputs, in turn."""


def make(number: int, seed: int, folder: Path) -> Case:
    """Write input ``number`` of a seed into a folder; those below 0 are the ones that are made to hurt."""
    if number < 0:
        return hostile_case(list(HOSTILE)[-number - 1], folder)
    return KINDS[number % len(KINDS)](np.random.default_rng([seed, number]), folder)
