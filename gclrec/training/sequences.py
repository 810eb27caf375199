"""In which order each user took his items."""

from __future__ import annotations

import warnings

import torch

from gclrec.data.interactions import Interactions
from gclrec.encoders import Sequences
from gclrec.errors import InputWarning


def sequences_of(train: Interactions, length: int) -> Sequences:
    """Return the items of each user by time, or in the order of the table where no times are known.

    An :class:`~gclrec.errors.InputWarning` says so.

    Args:
        train: the pairs.
        length: items of a history, at most.
    """
    if train.time is None:
        message = "no times are known, so histories are in the order in which the data names their items"
        warnings.warn(message, InputWarning, stacklevel=2)

    user, item = torch.from_numpy(train.user), torch.from_numpy(train.item)
    time = None if train.time is None else torch.from_numpy(train.time)
    return Sequences(user, item, train.num_users, train.num_items, time=time, length=length)
