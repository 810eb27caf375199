"""What users were shown and did not click."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace

import numpy as np

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.interactions import Interactions
from gclrec.data.io.columns import Columns
from gclrec.data.io.readers import GUESSED, read_frame


def read_exposed(
    path: str | os.PathLike[str], train: Interactions, *, columns: Columns = GUESSED, format: str = "auto"
) -> Interactions:
    """Read pairs that were shown and not clicked, numbered as the training pairs are.

    Left out, each with an :class:`~gclrec.InputWarning` that says how many: pairs of which an id is
    not among the users and items of ``train``, and pairs that are training pairs. A pair that is there more
    than once counts once.

    Args:
        path: a file in any format that interactions are read in; times and ratings are not looked at.
        train: the training pairs; they may know more users and items than have any.
        columns: names of the columns, where they should not be guessed.
        format: a name in :data:`~gclrec.data.io.readers.FORMATS`, or ``"auto"``.

    Raises:
        InputError: the file cannot be read, or no pair is left.
    """
    frame = read_frame(path, columns=replace(columns, time="", weight=""), format=format)
    user, item = train.users.rows(frame["user"]), train.items.rows(frame["item"])
    strangers = (user < 0) | (item < 0)
    if strangers.any():
        first = frame.row(int(np.argmax(strangers)), named=True)
        message = (
            f"{path}: {np.count_nonzero(strangers):,} of {len(frame):,} pairs left out: their user or item "
            f"is not in the data (such as {first['user']!r}, {first['item']!r})"
        )
        warnings.warn(message, InputWarning, stacklevel=2)
    keys = np.unique(user[~strangers] * train.num_items + item[~strangers])
    pairs = Interactions(train.users, train.items, keys // train.num_items, keys % train.num_items)
    known = pairs.shared_with(train)
    if known.any():
        message = f"{path}: {np.count_nonzero(known):,} pairs left out: they are training pairs"
        warnings.warn(message, InputWarning, stacklevel=2)
    pairs = pairs.select(~known)
    if len(pairs) == 0:
        raise InputError(f"{path}: no pair of it is of use: all are unknown or training pairs")
    return pairs
