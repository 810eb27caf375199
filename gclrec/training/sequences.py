"""Users' items in the order in which they took them."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from gclrec.common.errors import InputWarning
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import IntArray, Interactions
from gclrec.encoders import Sequences


def sequences_of(train: Interactions, length: int) -> Sequences:
    """Return the items of each user by time.

    Without times they are in the order of the table, with an :class:`~gclrec.InputWarning`.

    Args:
        train: the pairs.
        length: items of a history, at most.
    """
    if train.time is None:
        message = "no times are known, so histories are in the order in which the data names their items"
        warnings.warn(message, InputWarning, stacklevel=2)

    user, item = (torch.tensor(rows, dtype=torch.long) for rows in (train.user, train.item))
    time = None if train.time is None else torch.tensor(train.time)
    return Sequences(user, item, train.num_users, train.num_items, time=time, length=length)


def continued(sequences: Sequences, users: IntArray, given: Ragged) -> Tensor:
    """Return the newest items of users with further interactions, ``(B, n)``, the newest last.

    Args:
        sequences: what users took in training.
        users: ``(B,)`` their numbers, ``-1`` for a user that training did not know.
        given: what each has come to, oldest to newest.
    """
    before = sequences.newest(torch.from_numpy(np.maximum(users, 0))).numpy()
    before = np.where(users[:, None] >= 0, before, -1)
    owner, place = np.nonzero(before >= 0)
    owners = np.concatenate([owner, given.owners()])
    taken = np.concatenate([before[owner, place], given.values])
    both = Ragged.from_pairs(owners, taken, len(users)).newest()
    ends, items = both.indptr, both.values
    at = ends[1:, None] + np.arange(-sequences.length, 0)
    there = at >= ends[:-1, None]
    return torch.from_numpy(np.where(there, items[np.where(there, at, 0)] if len(items) else -1, -1))
