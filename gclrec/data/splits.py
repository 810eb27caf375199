"""Splits: training, validation and test pairs of a data set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np

from gclrec.common.declaration import SEED, Component, Setting
from gclrec.common.errors import InputError, InputWarning, SettingError
from gclrec.data.interactions import BoolArray, Dataset, IntArray, Interactions, TimeArray
from gclrec.data.split_labels import (
    NODES,
    ORDER,
    SHOTS,
    TEST,
    THIN,
    TRAIN,
    VALID,
    ColdShare,
    Draws,
    Shots,
    SplitParts,
    TestShare,
    ValidShare,
    by_label,
    pair_noise,
    per_user_label,
    ranks_within,
)


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint sets of pairs under the same vocabularies.

    Args:
        train: pairs to train on.
        valid: pairs to select on; no test pair is among them.
        test: pairs to report.
        name: name in ``SPLITS``.
        train_fraction: share of the training pairs that was kept.
        seed: seed of the split.
        removed: training pairs that ``train_fraction`` removed, ``None`` without any. They are not learnt
            from and are no candidates either, so that all shares are ranked against the same items.

    Shapes:
        - **cold_users:** rows of users in ``[0, U)`` with no training pair, ascending
        - **cold_items:** rows of items in ``[0, I)`` with no training pair, ascending
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    name: str
    train_fraction: float = 1.0
    seed: int = 0
    removed: Interactions | None = None

    @property
    def cold_users(self) -> IntArray:
        """Rows of the users without a training pair."""
        return np.flatnonzero(self.train.user_degrees() == 0)

    @property
    def cold_items(self) -> IntArray:
        """Rows of the items without a training pair."""
        return np.flatnonzero(self.train.item_degrees() == 0)

    def refit(self) -> Split:
        """Return the split for the final training: ``valid`` joins ``train`` and is empty.

        Of the validation pairs the same share joins as was kept of the training pairs.
        """
        joining, left = self.joining()
        train, removed = self.train.joined(joining), _together(self.removed, left)
        return replace(self, train=train, valid=_none_of(self.valid), removed=removed)

    def joining(self) -> tuple[Interactions, Interactions | None]:
        """Return the validation pairs that join ``train`` in a refit, and those that do not, if any."""
        return _thinned(self.valid, self.train_fraction, self.seed)

    def sampled(self, part: str, count: int | None) -> Split:
        """Return the split with the pairs of so many users in one part, drawn with the seed of the split.

        Args:
            part: ``valid`` or ``test``.
            count: users to draw; with ``None``, or as many as there are, the split itself is returned.
        """
        pairs: Interactions = getattr(self, part)
        users = np.flatnonzero(np.bincount(pairs.user, minlength=pairs.num_users))
        if count is None or count >= len(users):
            return self
        chosen = np.zeros(pairs.num_users, dtype=np.bool_)
        chosen[np.random.default_rng(self.seed).choice(users, count, replace=False)] = True
        few: dict[str, Any] = {part: pairs.select(chosen[pairs.user])}
        return replace(self, **few)

    def no_candidates(self, part: str) -> Interactions | None:
        """Return the pairs besides ``train`` that rankings for ``valid`` or ``test`` leave out."""
        return self.removed if part == "valid" else _together(self.valid, self.removed)


TRAIN_FRACTION = Setting(
    "train_fraction", "Share of the training interactions to train on (sparsity study).", low=1e-9, high=1
)


def make_split(
    dataset: Dataset,
    name: str | None = None,
    *,
    train_fraction: Annotated[float, TRAIN_FRACTION] = 1.0,
    seed: int = 0,
    **settings: Any,
) -> Split:
    """Split the pairs of a data set into training, validation and test pairs.

    The result does not depend on the order of the rows in the file, except for pairs at the same time, of
    which the later row is the later pair.

    Args:
        dataset: the data set; not modified.
        name: name in :data:`SPLITS`; the default of the data set if ``None``.
        train_fraction: share of the training pairs that is kept, in ``(0, 1]``. Smaller shares are subsets of
            larger ones; validation and test pairs do not change.
        seed: seed of all random choices; at least 0.
        settings: keyword arguments of the function in :data:`SPLITS`; the others ignore ``cold_share``.

            - ``valid``: share of the pairs for validation. ``given`` takes it of the training part, and only
              if no validation part was published.
            - ``test``: share of the pairs for test; ``valid + test < 1``. With 0 there is no test part, which
              ``given`` refuses; ``given`` and ``leave_one_out`` make no other use of it.
            - ``cold_share``: share of the items (or users) that is cold.
            - ``shots``: most training pairs that a cold item (or user) keeps.

    Raises:
        InputError: an argument is out of range, or the data set cannot be split this way.
    """
    name = dataset.default_split if name is None else name
    if name not in SPLITS:
        raise InputError(f"unknown split {name!r}: choose one of {', '.join(SPLITS)}")
    own = _checked(name, settings)
    TRAIN_FRACTION.check("train_fraction", train_fraction)
    SEED.check("seed", seed)
    if len(dataset.interactions) == 0:
        raise InputError(f"{dataset.name}: no interactions to split")
    train, valid, test = SPLITS[name](dataset, Draws(seed), **own)
    if len(train) == 0:
        raise InputError(
            f"{dataset.name}: split {name!r} leaves no training pair; ask for smaller valid and test shares"
        )
    kept, removed = _thinned(train, train_fraction, seed)
    return Split(kept, valid, test, name, train_fraction, seed, removed)


def _checked(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a split has, all checked."""
    own, takers = SPLITS[name].declared, {key: split.declared for key, split in SPLITS.items()}
    for argument, value in settings.items():
        able = [key for key, declared in takers.items() if argument in declared]
        if not able:
            raise TypeError(f"no split has an argument {argument!r}")
        declared = takers[able[0]][argument]
        declared.setting.check(argument, value)
        if argument not in own and value != declared.default and not declared.setting.lenient:
            raise SettingError(argument, f"not used by split {name!r}; give {' or '.join(able)}")
    valid, test = (
        settings.get(part, own[part].default if part in own else 0.0) for part in ("valid", "test")
    )
    if valid + test >= 1:
        raise InputError(f"validation share {valid:g} and test share {test:g} leave nothing to train on")
    return {argument: value for argument, value in settings.items() if argument in own}


def given(dataset: Dataset, draws: Draws, *, valid: ValidShare = 0.1, test: TestShare = 0.2) -> SplitParts:
    """Return the published parts.

    Validation pairs are removed from train. Without a published validation part, the share ``valid`` of each
    user's training pairs is held out; without a published test part, the share ``test``, with a warning. A
    training pair that is also a test pair is removed from train, with a warning.
    """
    parts = dataset.parts
    others = ", ".join(name for name in SPLITS if name != "given")
    if "train" not in parts or not {"valid", "test"} & parts.keys():
        found = f"only {' and '.join(sorted(parts))}" if parts else "none"
        raise InputError(
            f"{dataset.name}: split 'given' needs published train and test parts, found {found}; "
            f"choose one of {others}"
        )
    if "test" not in parts:
        chosen = parts["valid"]
        kept = parts["train"].without(chosen)
        found = f"no test part, so {test:g} of each user's training pairs are held out for test"
        warnings.warn(f"{dataset.name}: {found}", InputWarning, stacklevel=3)
        label = per_user_label(kept, 0.0, test, draws)
        return kept.select(label == TRAIN), chosen, kept.select(label == TEST)
    if test == 0:
        raise InputError(
            f"{dataset.name}: split 'given' has a published test part, so its share cannot be 0; "
            "split 'random' divides all pairs"
        )
    train, published = parts["train"], parts["test"]
    kept = train.without(published)
    if len(kept) < len(train):
        message = (
            f"{dataset.name}: {len(train) - len(kept):,} training pairs are also test pairs; they leave train"
        )
        warnings.warn(message, InputWarning, stacklevel=3)
    if "valid" in parts:
        chosen = parts["valid"].without(published)
        return kept.without(chosen), chosen, published
    label = per_user_label(kept, valid, 0.0, draws)
    return kept.select(label == TRAIN), kept.select(label == VALID), published


def random(dataset: Dataset, draws: Draws, *, valid: ValidShare = 0.1, test: TestShare = 0.2) -> SplitParts:
    """Hold out a random share of each user's pairs; each user keeps a training pair."""
    pairs = dataset.interactions
    return by_label(pairs, per_user_label(pairs, valid, test, draws))


def leave_one_out(
    dataset: Dataset, draws: Draws, *, valid: ValidShare = 0.1, test: TestShare = 0.2
) -> SplitParts:
    """Hold out each user's last pair for test and the one before it for validation.

    Users with fewer than three pairs stay in train. If the share of one part is 0, the other part gets the
    last pair. Of pairs at the same time the later row is the later pair. Without times the order of a user's
    pairs is random, with a warning.
    """
    pairs = dataset.interactions
    if pairs.time is None:
        message = f"no times, so leave_one_out calls a random pair of each user the last (seed {draws.seed})"
        warnings.warn(f"{dataset.name}: {message}", InputWarning, stacklevel=3)
        when = pair_noise(pairs, draws.stream(ORDER))
    else:
        when = pairs.time
    rank = ranks_within(pairs.user, when)
    degree = pairs.user_degrees()[pairs.user]
    enough = degree >= 3
    label = np.zeros(len(pairs), dtype=np.int8)
    wanted = [part for part, share in ((TEST, test), (VALID, valid)) if share > 0]
    for place, part in enumerate(wanted, start=1):
        label[enough & (rank == degree - place)] = part
    return by_label(pairs, label)


def temporal(
    dataset: Dataset,
    draws: Draws,  # noqa: ARG001 - the signature of all
    *,
    valid: ValidShare = 0.1,
    test: TestShare = 0.2,
) -> SplitParts:
    """Use the earliest pairs for training, the next for validation, the latest for test.

    The cuts are quantiles of all times. All pairs at the time of a cut go to the later part.
    """
    pairs = dataset.interactions
    if pairs.time is None:
        raise InputError(
            f"{dataset.name}: split 'temporal' needs a time for each interaction, and there is none"
        )
    if dataset.time_is_order:
        raise InputError(
            f"{dataset.name}: split 'temporal' needs times on one clock, and here each user's pairs are only "
            "in order; choose leave_one_out"
        )
    ordered = np.sort(pairs.time)
    if ordered[0] == ordered[-1] and valid + test > 0:
        raise InputError(f"{dataset.name}: split 'temporal' needs different times, and all are {ordered[0]}")
    first_valid = _cut(ordered, 1.0 - valid - test)
    first_test = _cut(ordered, 1.0 - test)
    label = (pairs.time >= first_valid).astype(np.int8) + (pairs.time >= first_test).astype(np.int8)
    return by_label(pairs, label)


def cold_items(
    dataset: Dataset,
    draws: Draws,
    *,
    valid: ValidShare = 0.1,
    test: TestShare = 0.2,
    cold_share: ColdShare = 0.2,
    shots: Shots = 0,
) -> SplitParts:
    """Make a random share of the items cold: their pairs are for validation or test only.

    Half of the cold items is for validation, half for test. With ``shots`` each keeps at most that many
    training pairs, the earliest if there are times on one clock. The pairs of the other items are split for
    each user as ``random`` does.
    """
    return _cold("items", dataset, draws, (valid, test), cold_share, shots)


def cold_users(
    dataset: Dataset,
    draws: Draws,
    *,
    valid: ValidShare = 0.1,
    test: TestShare = 0.2,
    cold_share: ColdShare = 0.2,
    shots: Shots = 0,
) -> SplitParts:
    """Make a random share of the users cold, as :func:`cold_items` does with items."""
    return _cold("users", dataset, draws, (valid, test), cold_share, shots)


def _cold(
    kind: str, dataset: Dataset, draws: Draws, held_out: tuple[float, float], cold_share: float, shots: int
) -> SplitParts:
    """Make a share of ``items`` or ``users`` cold, see :func:`cold_items`."""
    pairs = dataset.interactions
    node, degree = pairs.item, pairs.item_degrees()
    if kind == "users":
        node, degree = pairs.user, pairs.user_degrees()
    wanted_parts = [part for part, share in zip((VALID, TEST), held_out, strict=True) if share > 0]
    if not wanted_parts:
        raise InputError(f"split 'cold_{kind}' needs a validation or a test share above 0")
    present = np.flatnonzero(degree)
    num_cold = max(round(cold_share * len(present)), len(wanted_parts))
    if num_cold >= len(present):
        found = f"{len(present)} {kind} with interactions are too few for split 'cold_{kind}'"
        raise InputError(f"{dataset.name}: {found}")
    chosen = draws.stream(NODES).permutation(present)[:num_cold]
    part_of = np.full(len(degree), -1, dtype=np.int8)
    for part, rows in zip(wanted_parts, np.array_split(chosen, len(wanted_parts)), strict=True):
        part_of[rows] = part

    is_cold = part_of[node] >= 0
    label = np.zeros(len(pairs), dtype=np.int8)
    label[~is_cold] = per_user_label(pairs.select(~is_cold), *held_out, draws)
    label[is_cold] = part_of[node][is_cold]
    if shots:
        times_compare = kind == "users" or not dataset.time_is_order  # a user's own pairs are in order anyway
        when = pairs.time if times_compare else None
        rank = ranks_within(node, pair_noise(pairs, draws.stream(SHOTS)) if when is None else when)
        label[is_cold & (rank < np.minimum(shots, degree - 1)[node])] = TRAIN
    return by_label(pairs, label)


def _cut(ordered: TimeArray, share: float) -> Any:
    """Return the first time after the earliest ``share`` of all pairs."""
    place = round(share * len(ordered))
    return ordered[place] if place < len(ordered) else np.inf  # as a float, large int64 times would tie


def _none_of(pairs: Interactions) -> Interactions:
    nothing: BoolArray = np.zeros(len(pairs), dtype=np.bool_)
    return pairs.select(nothing)


def _thinned(pairs: Interactions, fraction: float, seed: int) -> tuple[Interactions, Interactions | None]:
    """Return a random share of the pairs, and the others; smaller shares are subsets of larger ones."""
    if fraction == 1.0 or len(pairs) == 0:
        return pairs, None
    noise = pair_noise(pairs, np.random.default_rng([seed, THIN]))
    count = max(1, round(fraction * len(pairs)))
    kept, left = np.split(np.argsort(noise, kind="stable"), [count])
    return pairs.select(np.sort(kept)), pairs.select(np.sort(left))


def _together(one: Interactions | None, other: Interactions | None) -> Interactions | None:
    if one is None or other is None:
        return other if one is None else one
    return one.joined(other)


SPLITS: dict[str, Component[..., SplitParts]] = {
    "given": Component(given, "the published parts"),
    "random": Component(random, "a random share of each user's pairs"),
    "leave_one_out": Component(leave_one_out, "each user's last pair"),
    "temporal": Component(temporal, "the latest pairs"),
    "cold_items": Component(cold_items, "all pairs of some items"),
    "cold_users": Component(cold_users, "all pairs of some users"),
}
"""Splits by name: functions of a data set, :class:`Draws` and their own settings."""

COLD_SIDES: Mapping[str, str] = {"cold_items": "items", "cold_users": "users"}
"""What is cold, by the split that makes it so."""
