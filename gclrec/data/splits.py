"""Split a data set into training, validation and test pairs; the ways to do so are listed in ``SPLITS``."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import BoolArray, Dataset, IntArray, Interactions

SplitParts = tuple[Interactions, Interactions, Interactions]
Label = npt.NDArray[np.int8]
TRAIN, VALID, TEST = 0, 1, 2

# One random stream for each decision, so that one does not change another.
_SHARE, _NODES, _SHOTS, _ORDER, _THIN = range(5)


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

    def no_candidates(self, part: str) -> Interactions | None:
        """Return the pairs besides ``train`` that rankings for ``valid`` or ``test`` leave out."""
        return self.removed if part == "valid" else _together(self.valid, self.removed)


@dataclass(frozen=True)
class _Request:
    valid: float
    test: float
    shots: int
    cold_share: float
    seed: int

    def generator(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, stream])


def make_split(
    dataset: Dataset,
    name: str | None = None,
    *,
    valid: float = 0.1,
    test: float = 0.2,
    shots: int = 0,
    cold_share: float = 0.2,
    train_fraction: float = 1.0,
    seed: int = 0,
) -> Split:
    """Split the pairs of a data set into training, validation and test pairs.

    The result does not depend on the order of the rows in the file, except for pairs at the same time, of
    which the later row is the later pair.

    Args:
        dataset: the data set; not modified.
        name: name in ``SPLITS``; the default of the data set if ``None``.
        valid: share of the pairs for validation, in ``[0, 1)``. ``given`` takes it of the training part, and
            only if no validation part was published.
        test: share of the pairs for test, in ``[0, 1)``; ``valid + test < 1``. With 0 there is no test part,
            which ``given`` refuses; ``given`` and ``leave_one_out`` make no other use of it.
        shots: most training pairs that a cold item (or user) keeps; for ``cold_items`` and ``cold_users``.
        cold_share: share of the items (or users) that is cold, in ``(0, 1)``.
        train_fraction: share of the training pairs that is kept, in ``(0, 1]``. Smaller shares are subsets of
            larger ones; validation and test pairs do not change.
        seed: seed of all random choices; at least 0.

    Raises:
        InputError: an argument is out of range, or the data set cannot be split this way.
    """
    name = dataset.default_split if name is None else name
    if name not in SPLITS:
        raise InputError(f"unknown split {name!r}: choose one of {', '.join(SPLITS)}")
    _check(
        name, valid=valid, test=test, shots=shots, cold_share=cold_share, fraction=train_fraction, seed=seed
    )
    if len(dataset.interactions) == 0:
        raise InputError(f"{dataset.name}: no interactions to split")
    request = _Request(valid, test, shots, cold_share, seed)
    train, valid_part, test_part = SPLITS[name](dataset, request)
    if len(train) == 0:
        raise InputError(
            f"{dataset.name}: split {name!r} leaves no training pair; ask for smaller valid and test shares"
        )
    kept, removed = _thinned(train, train_fraction, seed)
    return Split(kept, valid_part, test_part, name, train_fraction, seed, removed)


def _check(
    name: str, *, valid: float, test: float, shots: int, cold_share: float, fraction: float, seed: int
) -> None:
    if not 0 <= valid < 1:
        raise InputError(f"the validation share must be in [0, 1), got {valid:g}")
    if not 0 <= test < 1:
        raise InputError(f"the test share must be in [0, 1), got {test:g}")
    if valid + test >= 1:
        raise InputError(f"validation share {valid:g} and test share {test:g} leave nothing to train on")
    if shots < 0:
        raise InputError(f"shots must be 0 or more, got {shots}")
    if shots and name not in ("cold_items", "cold_users"):
        raise InputError(f"shots={shots} needs split cold_items or cold_users, not {name!r}")
    if not 0 < cold_share < 1:
        raise InputError(f"the share of cold users or items must be in (0, 1), got {cold_share:g}")
    if not 0 < fraction <= 1:
        raise InputError(f"the training fraction must be in (0, 1], got {fraction:g}")
    if seed < 0:
        raise InputError(f"the seed must be 0 or more, got {seed}")


def given(dataset: Dataset, request: _Request) -> SplitParts:
    """Return the published parts.

    Validation pairs are removed from train. Without a published validation part, the share ``valid`` of each
    user's training pairs is held out. A training pair that is also a test pair is removed from train, with a
    warning.
    """
    parts = dataset.parts
    others = ", ".join(name for name in SPLITS if name != "given")
    if "train" not in parts or "test" not in parts:
        found = f"only {' and '.join(sorted(parts))}" if parts else "none"
        raise InputError(
            f"{dataset.name}: split 'given' needs published train and test parts, found {found}; "
            f"choose one of {others}"
        )
    if request.test == 0:
        raise InputError(
            f"{dataset.name}: split 'given' has a published test part, so its share cannot be 0; "
            "split 'random' divides all pairs"
        )
    train, test = parts["train"], parts["test"]
    kept = train.without(test)
    if len(kept) < len(train):
        message = (
            f"{dataset.name}: {len(train) - len(kept):,} training pairs are also test pairs; they leave train"
        )
        warnings.warn(message, InputWarning, stacklevel=3)
    if "valid" in parts:
        valid = parts["valid"].without(test)
        return kept.without(valid), valid, test
    label = _per_user_label(kept, request.valid, 0.0, request)
    return kept.select(label == TRAIN), kept.select(label == VALID), test


def random(dataset: Dataset, request: _Request) -> SplitParts:
    """Hold out a random share of each user's pairs; each user keeps a training pair."""
    pairs = dataset.interactions
    return _by_label(pairs, _per_user_label(pairs, request.valid, request.test, request))


def leave_one_out(dataset: Dataset, request: _Request) -> SplitParts:
    """Hold out each user's last pair for test and the one before it for validation.

    Users with fewer than three pairs stay in train. If the share of one part is 0, the other part gets the
    last pair. Of pairs at the same time the later row is the later pair. Without times the order of a user's
    pairs is random, with a warning.
    """
    pairs = dataset.interactions
    if pairs.time is None:
        message = (
            f"no times, so leave_one_out calls a random pair of each user the last (seed {request.seed})"
        )
        warnings.warn(f"{dataset.name}: {message}", InputWarning, stacklevel=3)
        when = _noise(pairs, request.generator(_ORDER))
    else:
        when = pairs.time
    rank = _rank(pairs.user, when)
    degree = pairs.user_degrees()[pairs.user]
    enough = degree >= 3
    label = np.zeros(len(pairs), dtype=np.int8)
    wanted = [part for part, share in ((TEST, request.test), (VALID, request.valid)) if share > 0]
    for place, part in enumerate(wanted, start=1):
        label[enough & (rank == degree - place)] = part
    return _by_label(pairs, label)


def temporal(dataset: Dataset, request: _Request) -> SplitParts:
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
    if ordered[0] == ordered[-1] and request.valid + request.test > 0:
        raise InputError(
            f"{dataset.name}: split 'temporal' needs different times, and all are {ordered[0]:g}"
        )
    first_valid = _cut(ordered, 1.0 - request.valid - request.test)
    first_test = _cut(ordered, 1.0 - request.test)
    label = (pairs.time >= first_valid).astype(np.int8) + (pairs.time >= first_test).astype(np.int8)
    return _by_label(pairs, label)


def cold_items(dataset: Dataset, request: _Request) -> SplitParts:
    """Make a random share of the items cold: their pairs are for validation or test only.

    Half of the cold items is for validation, half for test. With ``shots`` each keeps at most that many
    training pairs, the earliest if there are times on one clock. The pairs of the other items are split for
    each user as ``random`` does.
    """
    pairs = dataset.interactions
    when = None if dataset.time_is_order else pairs.time
    return _by_label(
        pairs, _cold_label(dataset.name, "items", pairs, pairs.item, pairs.item_degrees(), when, request)
    )


def cold_users(dataset: Dataset, request: _Request) -> SplitParts:
    """Make a random share of the users cold, as :func:`cold_items` does with items."""
    pairs = dataset.interactions
    label = _cold_label(dataset.name, "users", pairs, pairs.user, pairs.user_degrees(), pairs.time, request)
    return _by_label(pairs, label)


def _cold_label(
    name: str,
    kind: str,
    pairs: Interactions,
    node: IntArray,
    degree: IntArray,
    when: npt.NDArray[np.float64] | None,
    request: _Request,
) -> Label:
    """Label pairs if some nodes are cold; ``node`` is the item or user of each pair."""
    if request.valid + request.test == 0:
        raise InputError(f"split 'cold_{kind}' needs a validation or a test share above 0")
    present = np.flatnonzero(degree)
    wanted_parts = [part for part, share in ((VALID, request.valid), (TEST, request.test)) if share > 0]
    num_cold = max(round(request.cold_share * len(present)), len(wanted_parts))
    if num_cold >= len(present):
        raise InputError(
            f"{name}: {len(present)} {kind} with interactions are too few for split 'cold_{kind}'"
        )
    chosen = request.generator(_NODES).permutation(present)[:num_cold]
    part_of = np.full(len(degree), -1, dtype=np.int8)
    for part, rows in zip(wanted_parts, np.array_split(chosen, len(wanted_parts)), strict=True):
        part_of[rows] = part

    is_cold = part_of[node] >= 0
    label = np.zeros(len(pairs), dtype=np.int8)
    warm = pairs.select(~is_cold)
    label[~is_cold] = _per_user_label(warm, request.valid, request.test, request)
    label[is_cold] = part_of[node][is_cold]
    if request.shots:
        noise = _noise(pairs, request.generator(_SHOTS))
        rank = _rank(node, when if when is not None else noise)
        shown = np.minimum(request.shots, degree - 1)[node]
        label[is_cold & (rank < shown)] = TRAIN
    return label


def _per_user_label(pairs: Interactions, valid: float, test: float, request: _Request) -> Label:
    """Hold out shares of each user's pairs at random, so that each user keeps a training pair.

    Of ``n`` pairs ``(valid + test) * n`` are held out on average: the fractional part is rounded up with that
    probability, so that the shares also hold for users with few pairs.
    """
    generator = request.generator(_SHARE)
    degree = pairs.user_degrees()
    luck = generator.random(len(degree))
    most = np.maximum(degree - 1, 0)
    held_out = np.minimum(np.floor((valid + test) * degree + luck).astype(np.int64), most)
    for_test = np.minimum(np.floor(test * degree + luck).astype(np.int64), held_out)
    rank = _rank(pairs.user, _noise(pairs, generator))
    label = np.zeros(len(pairs), dtype=np.int8)
    label[rank < held_out[pairs.user]] = VALID
    label[rank < for_test[pairs.user]] = TEST
    return label


def _noise(pairs: Interactions, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a random number for each pair, whatever the order of the rows."""
    noise = np.empty(len(pairs))
    noise[np.argsort(pairs.pair_keys, kind="stable")] = generator.random(len(pairs))
    return noise


def _rank(group: IntArray, value: npt.NDArray[np.float64]) -> IntArray:
    """Return each row's rank, from 0, in its group by value, then by row."""
    order = np.lexsort((value, group))
    ordered = group[order]
    starts = np.searchsorted(ordered, ordered, side="left")
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - starts
    return rank


def _cut(ordered: npt.NDArray[np.float64], share: float) -> float:
    """Return the first time after the earliest ``share`` of all pairs."""
    place = round(share * len(ordered))
    return float(ordered[place]) if place < len(ordered) else np.inf


def _by_label(pairs: Interactions, label: Label) -> SplitParts:
    return pairs.select(label == TRAIN), pairs.select(label == VALID), pairs.select(label == TEST)


def _none_of(pairs: Interactions) -> Interactions:
    nothing: BoolArray = np.zeros(len(pairs), dtype=np.bool_)
    return pairs.select(nothing)


def _thinned(pairs: Interactions, fraction: float, seed: int) -> tuple[Interactions, Interactions | None]:
    """Return a random share of the pairs, and the others; smaller shares are subsets of larger ones."""
    if fraction == 1.0 or len(pairs) == 0:
        return pairs, None
    noise = _noise(pairs, np.random.default_rng([seed, _THIN]))
    count = max(1, round(fraction * len(pairs)))
    kept, left = np.split(np.argsort(noise, kind="stable"), [count])
    return pairs.select(np.sort(kept)), pairs.select(np.sort(left))


def _together(one: Interactions | None, other: Interactions | None) -> Interactions | None:
    if one is None or other is None:
        return other if one is None else one
    return one.joined(other)


SPLITS: dict[str, Callable[[Dataset, _Request], SplitParts]] = {
    "given": given,
    "random": random,
    "leave_one_out": leave_one_out,
    "temporal": temporal,
    "cold_items": cold_items,
    "cold_users": cold_users,
}
