"""SplitParts of a split as a label for each pair, drawn at random; and the settings that splits share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from gclrec.common.declaration import Setting
from gclrec.data.interactions import Interactions, RowArray

SplitParts = tuple[Interactions, Interactions, Interactions]
Label = npt.NDArray[np.int8]
TRAIN, VALID, TEST = 0, 1, 2

# One random stream for each decision, so that one does not change another.
SHARE, NODES, SHOTS, ORDER, THIN = range(5)


ValidShare: TypeAlias = Annotated[
    float,
    Setting(
        "valid_share",
        "Share held out for validation, on which the best epoch is chosen; with 0 the last epoch stands.",
        low=0,
        high=0.99,
    ),
]
TestShare: TypeAlias = Annotated[
    float,
    Setting(
        "test_share",
        "Share held out for the test, which is read once; 0, with refit, trains on all the data.",
        low=0,
        high=0.99,
    ),
]
ColdShare: TypeAlias = Annotated[
    float,
    Setting(
        "cold_share",
        "Share of items (or users) made cold by the cold splits.",
        low=0,
        high=1,
        closed=False,
        lenient=True,
    ),
]
Shots: TypeAlias = Annotated[
    int,
    Setting(
        "shots", "Training interactions that a cold item (or user) keeps; above 0 they are near-cold.", low=0
    ),
]


@dataclass(frozen=True)
class Draws:
    """Random numbers of a split, one stream for each decision.

    Args:
        seed: decides all streams.
    """

    seed: int

    def stream(self, number: int) -> np.random.Generator:
        """Return one of the streams from its start."""
        return np.random.default_rng([self.seed, number])


def per_user_label(pairs: Interactions, valid: float, test: float, draws: Draws) -> Label:
    """Hold out shares of each user's pairs at random, so that each user keeps a training pair.

    Of ``n`` pairs ``(valid + test) * n`` are held out on average: the fractional part is rounded up with that
    probability, so that the shares also hold for users with few pairs.
    """
    generator = draws.stream(SHARE)
    degree = pairs.user_degrees()
    luck = generator.random(len(degree))
    most = np.maximum(degree - 1, 0)
    held_out = np.minimum(np.floor((valid + test) * degree + luck).astype(np.int64), most)
    for_test = np.minimum(np.floor(test * degree + luck).astype(np.int64), held_out)
    rank = ranks_within(pairs.user, pair_noise(pairs, generator))
    label = np.zeros(len(pairs), dtype=np.int8)
    label[rank < held_out[pairs.user]] = VALID
    label[rank < for_test[pairs.user]] = TEST
    return label


def pair_noise(pairs: Interactions, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a random number for each pair, whatever the order of the rows."""
    noise = np.empty(len(pairs))
    noise[np.argsort(pairs.pair_keys)] = generator.random(len(pairs))
    return noise


def ranks_within(group: RowArray, value: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Return each row's rank, from 0, in its group by value, then by row."""
    counts = np.bincount(group)
    rank = np.empty(len(group), dtype=np.int32)
    rank[_ordered(group, value)] = np.arange(len(group)) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank


def _ordered(group: RowArray, value: npt.NDArray[Any]) -> npt.NDArray[np.intp]:
    """Return ``np.lexsort((value, group))``.

    Values in ``[0, 1)`` take one sort, which is four times as fast: the group and the first bits of the value
    make one number. Equal numbers may hide an order: then, and for other values, the slow way is taken.
    """
    if value.dtype.kind == "f" and len(value) and value.min() >= 0 and value.max() < 1:
        bits = 62 - int(group.max()).bit_length()
        keys = np.left_shift(group, bits, dtype=np.int64)
        keys |= (value * 2.0**bits).astype(np.int64)
        order = np.argsort(keys)
        keys = keys[order]
        if (keys[1:] != keys[:-1]).all():
            return order
    return np.lexsort((value, group))


def by_label(pairs: Interactions, label: Label) -> SplitParts:
    """Return the pairs of each part."""
    return pairs.select(label == TRAIN), pairs.select(label == VALID), pairs.select(label == TEST)
