"""Remove low ratings and rare users and items, before any split."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Dataset, Interactions


@dataclass(frozen=True)
class Keep:
    """Which rows of a table are interactions, and which row of a repeated pair stays.

    Args:
        min_rating: the smallest rating or weight of an interaction; with ``None`` it is above 0.
        repeats: a name in :data:`~gclrec.data.interactions.REPEATS`.
    """

    min_rating: float | None = None
    repeats: str = "first"


def filtered(dataset: Dataset, *, min_rating: float | None = None, k_core: int | None = None) -> Dataset:
    """Return the data set without ratings below a minimum, then reduced to its k-core.

    Published parts keep the pairs that remain; users and items are numbered anew. An
    :class:`~gclrec.InputWarning` gives the size of the k-core.

    Args:
        dataset: the data set; not modified.
        min_rating: smallest rating that is kept; ``None`` keeps all.
        k_core: smallest number of interactions of a user or item; ``None`` sets no limit.

    Raises:
        InputError: there are no ratings, nothing is left, or a published part is empty afterwards.
    """
    if min_rating is None and k_core is None:
        return dataset
    pairs = dataset.interactions
    try:
        if min_rating is not None:
            pairs = pairs.with_min_rating(min_rating)
        if k_core is not None:
            before, pairs = pairs, pairs.k_core(k_core)
            _warn_of_core(k_core, before, pairs)
    except InputError as error:
        raise InputError(f"{dataset.name}: {error}") from error
    parts = {name: _restricted(part, dataset.interactions, pairs) for name, part in dataset.parts.items()}
    for name, part in parts.items():
        if len(part) == 0:
            raise InputError(f"{dataset.name}: no pair of the published {name} part is left after filtering")
    return replace(dataset, interactions=pairs, parts=parts)


def _warn_of_core(k: int, before: Interactions, after: Interactions) -> None:
    if len(after) < len(before):
        sizes = ((part.num_users, part.num_items, len(part)) for part in (after, before))
        kept = [
            f"{count:,} of {whole:,} {what}"
            for what, count, whole in zip(("users", "items", "interactions"), *sizes, strict=True)
        ]
        warnings.warn(f"{k}-core: kept {kept[0]}, {kept[1]} and {kept[2]}", InputWarning, stacklevel=3)


def _restricted(part: Interactions, before: Interactions, after: Interactions) -> Interactions:
    """Return the pairs of a part of ``before`` that are in ``after``, numbered as ``after``."""
    new_user = after.users.rows(before.users.ids)[part.user]
    new_item = after.items.rows(before.items.ids)[part.item]
    moved = replace(part, users=after.users, items=after.items, user=new_user, item=new_item)
    moved = moved.select((new_user >= 0) & (new_item >= 0))
    return moved.select(moved.shared_with(after))
