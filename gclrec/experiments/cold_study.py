"""The cold-start study: which use of attributes, contrast and augmentation helps what is cold."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gclrec.common.errors import InputError
from gclrec.data.interactions import Dataset
from gclrec.data.splits import COLD_SIDES
from gclrec.settings.config import TrainConfig
from gclrec.training.prepare import new_split
from gclrec.training.results import MANY_COLD

STUDIES = ("cold",)
"""Names of studies, which bring variants of their own."""

QUICK_STEPS = 400
"""Optimiser steps of a trained variant, where neither a budget nor a thorough study is asked for."""

_SUBJECT = ("method", "attributes", "ssl", "aug")  # what the variants differ in; given values do not hold

_MAP = {"method": "gcl", "attributes": "map"}

UNTRAINED: Mapping[str, tuple[str, ...]] = {
    "items": ("content_knn", "linear_map", "popularity"),
    "users": ("popularity", "group_popularity"),
}
"""Baselines by what is cold; the others are compared with the first."""

TRAINED: Mapping[str, Mapping[str, Any]] = {
    "ids alone": {"method": "gcl", "attributes": "none"},
    "map": _MAP,
    "map, content": {**_MAP, "ssl": "content", "aug": "none", "ssl_weight": 0.2},
}
"""Variants of every study."""

FURTHER: Mapping[str, Mapping[str, Any]] = {
    "map, no contrast": {**_MAP, "ssl": "none", "aug": "none"},
    "map, edge_drop": {**_MAP, "ssl": "infonce", "aug": "edge_drop:0.1"},
    "map, node_drop": {**_MAP, "ssl": "infonce", "aug": "node_drop:0.1"},
    "input, edge_drop": {"method": "gcl", "attributes": "input", "ssl": "infonce", "aug": "edge_drop:0.1"},
    "input, feature_mask": {
        **{"method": "gcl", "attributes": "input", "ssl": "infonce", "aug": "feature_mask:0.1"}
    },
    "clcrec": {"method": "clcrec"},
}
"""Variants of a thorough study."""


@dataclass(frozen=True)
class ColdStudy:
    """What a study compares.

    Args:
        common: the settings of all runs.
        variants: settings of each variant, by name, the one to compare with first.
        group: whose figures the answer is about.
    """

    common: TrainConfig
    variants: Mapping[str, Mapping[str, Any]]
    group: str


def cold_study(
    dataset: Dataset, common: TrainConfig, *, given: Collection[str] = (), thorough: bool = False
) -> ColdStudy:
    """Return the study of cold start that suits a data set.

    Items are held out where their attributes are known, otherwise users, unless a split is named; a
    published split with cold test pairs is taken as it is.

    Args:
        dataset: with its attribute tables.
        common: the settings that are asked for.
        given: names of those that go before the study's own.
        thorough: more variants, each with the budget of its method.

    Raises:
        InputError: no attributes are known of what is cold.
    """
    tables = {"items": dataset.item_attributes, "users": dataset.user_attributes}
    able = [side for side, table in tables.items() if table is not None]
    if not able:
        raise InputError(
            f"--study: {dataset.name} has no attributes, and without them nothing is known of what is cold; "
            "give --item-attributes FILE or --user-attributes FILE"
        )
    published = common.split == "given" or (common.split is None and dataset.default_split == "given")
    split = common.split
    if published:
        parts = new_split(dataclasses.replace(common, split="given"), dataset)
        cold = {"items": parts.cold_items, "users": parts.cold_users}
        rows = {"items": parts.test.item, "users": parts.test.user}
        found = [side for side in cold if np.isin(rows[side], cold[side]).mean() >= MANY_COLD]
        split = "given" if found else None
    else:
        found = [cold_side for name, cold_side in COLD_SIDES.items() if name == split]
    if common.split is not None and not found:
        raise InputError(f"--split: {common.split} holds out little that is cold; leave it out")
    side = found[0] if found else able[0]
    if side not in able:
        give = f"give --{side.removesuffix('s')}-attributes FILE"
        raise InputError(f"--study: {dataset.name} has no attributes of {side}; {give}")
    settings: dict[str, Any] = {"item_attributes": None, "user_attributes": None, "attributes": "none"}
    settings["split"] = split or f"cold_{side}"
    if settings["split"] in COLD_SIDES and "/" not in common.select:
        settings["goal"] = common.goal or "balanced"
    variants: dict[str, Mapping[str, Any]] = {name: {"method": name} for name in UNTRAINED[side]}
    budget = {} if thorough or {"steps", "epochs"} & set(given) else {"steps": QUICK_STEPS}
    for name, own in {**TRAINED, **(FURTHER if thorough else {})}.items():
        kept = {key: value for key, value in own.items() if key in _SUBJECT or key not in given}
        variants[name] = kept | budget
    return ColdStudy(dataclasses.replace(common, **settings), variants, f"cold_{side}")
