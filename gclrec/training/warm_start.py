"""Warm start: training that goes on from the vectors of a former run, on other data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from gclrec.common.errors import InputError
from gclrec.common.files import local_path
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import BoolArray, IntArray, Interactions, RowArray
from gclrec.data.splits import Split
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.runs.checkpoint import load_state
from gclrec.runs.folder import RunFolder
from gclrec.runs.reading import PARTS, check_run, settings_of
from gclrec.settings.config import TrainConfig


@dataclass(frozen=True, eq=False)
class WarmStart:
    r"""The encoder of a former run, to start another one with.

    Users and items that both know keep their layer-0 vectors, found by their ids. Those of new ones are
    predicted from their interactions with known ones by a ridge regression, which is fitted to the layer-0
    vectors of the former run,

    .. math:: \hat x_u^{(0)} = \mu + (r_u - \bar r) W, \qquad
        r_u = |N(u)|^{-1/2} \sum_{i \in N(u)} x_i^{(0)}

    and likewise for items (:class:`~gclrec.recall.ridge.Ridge`); where users have no vectors of their own,
    the sum :math:`r_u` stands for them. A node without known neighbours gets the mean. Further
    parameters of the encoder, such as learned layer weights, are taken over. The optimiser, and what a
    contrast learns beside the encoder, begin anew.

    Args:
        run: folder of the former run, for messages.
        split: its split, in which ``train`` is all that it was trained on.
        tensors: the state of its encoder.
        fold_in: predicts layer-0 vectors from those of neighbours.
    """

    run: Path
    split: Split
    tensors: Mapping[str, Tensor]
    fold_in: FoldIn

    @classmethod
    def read(cls, run: str | Path, config: TrainConfig) -> WarmStart:
        """Return the encoder of a run folder.

        Args:
            run: the folder.
            config: settings of the run to start.

        Raises:
            InputError: the run is not finished, a file is damaged, or its encoder is another one.
        """
        folder = RunFolder.open(local_path(run))
        check_run(folder.path)
        former = settings_of(folder.path)
        for name in ("encoder", "attributes", "user_vectors"):
            found, wanted = former.get(name, config.known[name].default), getattr(config, name)
            if found != wanted:
                raise _other(folder.path, f"trained with {name} {found}, this run has {wanted}")
        state, values = load_state(folder.best_checkpoint)
        own = {name.removeprefix("encoder."): x for name, x in state.items() if name.startswith("encoder.")}
        split = folder.split()
        split = split.refit() if values.get("phase") == "refit" else split
        train = split.train
        graph, items = BipartiteGraph.from_interactions(train), own["items"]
        users = own.get("users")
        if users is None:
            degree = graph.degrees()[0].clamp(min=1).sqrt()[:, None]
            users = torch.from_numpy(graph.to_scipy() @ items.numpy()).to(items) / degree
        fold_in = FoldIn.of_vectors(graph, users, items)
        return cls(folder.path, split, own, fold_in)

    def carried_on(self, split: Split) -> Split:
        """Return a split of today without validation or test pairs that the former run was trained on.

        They join the training pairs, since figures on them would tell nothing. In a random split pairs also
        keep the part that they had, so that the parts stay as large; other splits hold out what is newest, or
        users and items, anew.
        """
        whole = split.train.joined(split.valid).joined(split.test)
        parts = np.repeat(np.arange(3), [len(split.train), len(split.valid), len(split.test)])
        keys = whole.user.astype(np.int64) * whole.num_items + whole.item
        for number, part in enumerate(PARTS):
            former: Interactions = getattr(self.split, part)
            if part != "train" and (split.name != "random" or not len(getattr(split, part))):
                continue
            user = whole.users.rows(former.users.ids)[former.user]
            item = whole.items.rows(former.items.ids)[former.item]
            known = (user >= 0) & (item >= 0)
            parts[np.isin(keys, (user * whole.num_items + item)[known])] = number
        train, valid, test = (whole.select(parts == number) for number in range(3))
        return replace(split, train=train, valid=valid, test=test)

    def tables(self, train: Interactions) -> dict[str, Tensor]:
        """Return the state to start an encoder of other interactions with.

        Raises:
            InputError: their ids are of another type, or no item is known.
        """
        rows = {}
        held = self.split.train
        for side, former, now in (("users", held.users, train.users), ("items", held.items, train.items)):
            kinds = former.ids.dtype, now.ids.dtype
            if kinds[0] != kinds[1]:
                raise _other(self.run, f"its {side} have ids of type {kinds[0]}, those of today {kinds[1]}")
            rows[side] = former.rows(now.ids)
        if (rows["items"] < 0).all():
            example = f"such as {held.items.ids[0]!r}, {train.items.ids[0]!r}"
            raise _other(self.run, f"none of its items is among those of today ({example})")
        user, item = rows["users"][train.user], rows["items"][train.item]
        new = {side: np.flatnonzero(rows[side] < 0) for side in rows}
        history = _neighbours(train.user, item, train.num_users).take(new["users"])
        audience = _neighbours(train.item, user, train.num_items).take(new["items"])
        predicted = {
            "users": self.fold_in.new_users(history),
            "items": self.fold_in.new_items(audience).vectors,
        }
        found = dict(self.tensors)
        for side in rows.keys() & found.keys():
            table = found[side][torch.from_numpy(np.maximum(rows[side], 0))]
            table[torch.from_numpy(new[side])] = torch.from_numpy(predicted[side])
            found[side] = table
        return found


def take_over(encoder: nn.Module, tensors: Mapping[str, Tensor], run: object) -> None:
    """Copy the state of :meth:`WarmStart.tables` into an encoder.

    Raises:
        InputError: a tensor has another size, such as that of another dimension, or is missing.
    """
    own = encoder.state_dict()
    for name, tensor in own.items():
        found = None if name not in tensors else tuple(tensors[name].shape)
        if found != tuple(tensor.shape):
            sizes = " x ".join(map(str, tensor.shape))
            there = "none" if found is None else " x ".join(map(str, found))
            raise _other(run, f"found {there} numbers as {name}, expected {sizes}")
    encoder.load_state_dict({name: tensors[name] for name in own})


def _neighbours(rows: RowArray, others: IntArray, count: int) -> Ragged:
    """Return the known neighbours of each node."""
    known: BoolArray = others >= 0
    return Ragged.from_pairs(rows[known], others[known], count, distinct=True)


def _other(run: object, why: str) -> InputError:
    return InputError(f"{run}: cannot start from it: {why}")
