"""Momentum contrast: a slow copy of the encoder makes the keys, and a queue keeps them (MoCo)."""

from __future__ import annotations

import copy
from typing import Annotated, cast

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.base import HEAD_LAYERS, MOMENTUM, TEMPERATURE, Contrasted, TrainingStep
from gclrec.contrast.heads import Heads
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit
from gclrec.losses.info_nce import info_nce
from gclrec.negatives.queue import QUEUE_SIZE


class Twin(nn.Module):
    r"""A copy of an encoder without gradient that moves a little towards it after every step (MoCo, [1]).

    .. math:: \theta' \leftarrow m\,\theta' + (1 - m)\,\theta

    Args:
        encoder: the original; the copy starts equal to it, and the original is not kept.
        momentum: ``m`` in ``[0, 1]``; the closer to 1, the slower.

    [1] He et al., CVPR 2020, https://arxiv.org/abs/1911.05722
    """

    def __init__(self, encoder: Encoder, momentum: float) -> None:
        super().__init__()
        self.copy = copy.deepcopy(cast("nn.Module", encoder)).requires_grad_(False)
        self.momentum = momentum

    @property
    def encoder(self) -> Encoder:
        """The copy."""
        return cast("Encoder", self.copy)

    @torch.no_grad()
    def after_step(self, encoder: Encoder) -> None:
        """Take one step towards the original."""
        follow(self.copy, cast("nn.Module", encoder), self.momentum)


@torch.no_grad()
def follow(copy: nn.Module, original: nn.Module, momentum: float) -> None:
    """Move the parameters of a copy towards those of the original; ``momentum`` of the old ones stays."""
    for mine, other in zip(copy.parameters(), original.parameters(), strict=True):
        mine.lerp_(other, 1.0 - momentum)


class KeyQueue(nn.Module):
    """The latest keys and the nodes that they belong to, first in, first out.

    Args:
        size: the most keys held.
        dim: length of a key.

    Example:
        >>> queue = KeyQueue(size=3, dim=1)
        >>> queue.push(torch.tensor([[1.0], [2.0]]), torch.tensor([10, 20]))
        >>> queue.push(torch.tensor([[3.0], [4.0]]), torch.tensor([30, 40]))
        >>> queue.ids  # 40 has taken the place of 10, the oldest
        tensor([40, 20, 30])
    """

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"size must be at least 1, got {size}")
        self._all_keys: Tensor
        self._all_ids: Tensor
        self.register_buffer("_all_keys", torch.zeros(size, dim))
        self.register_buffer("_all_ids", torch.full((size,), -1, dtype=torch.int64))
        self._pushed = 0  # a Python number: reading a tensor on a GPU would wait for it

    def __len__(self) -> int:
        return min(self._pushed, len(self._all_ids))

    @property
    def keys(self) -> Tensor:
        """The keys held, ``(len(self), D)``, in the order of their places; without gradient."""
        return self._all_keys[: len(self)]

    @property
    def ids(self) -> Tensor:
        """The node of each key, ``(len(self),)``."""
        return self._all_ids[: len(self)]

    @torch.no_grad()
    def push(self, keys: Tensor, ids: Tensor) -> None:
        """Add keys; in a full queue each replaces the oldest.

        Args:
            keys: ``(B, D)``, oldest first; of more than the queue can hold, the last ones are kept.
            ids: ``(B,)`` int64, the node of each.

        Raises:
            ValueError: the numbers of keys and ids differ.
        """
        if len(keys) != len(ids):
            raise ValueError(f"each key needs one id, got {len(keys)} keys and {len(ids)} ids")
        size = len(self._all_ids)
        self._pushed += len(ids)
        keys, ids = keys[-size:], ids[-size:]
        places = torch.arange(self._pushed - len(ids), self._pushed, device=ids.device) % size
        self._all_keys[places] = keys.to(self._all_keys)
        self._all_ids[places] = ids.to(self._all_ids)

    def get_extra_state(self) -> Tensor:
        """Return how many keys have been pushed so far, for ``state_dict``."""
        return torch.tensor(self._pushed)

    def set_extra_state(self, state: Tensor) -> None:
        """Restore what :meth:`get_extra_state` returned."""
        self._pushed = int(state)


def queue_contrast(query: Tensor, key: Tensor, ids: Tensor, queue: KeyQueue, temperature: float) -> Tensor:
    r"""Return InfoNCE of each node's key among those of the batch and of a queue (MoCo, [1] equation 1).

    .. math:: -\frac{1}{B} \sum_k \log \frac{e^{\cos(q_k, k_k) / \tau}}{\sum_{j \in \text{batch}}
        e^{\cos(q_k, k_j) / \tau} + \sum_{j \in \text{queue},\, id_j \ne id_k} e^{\cos(q_k, k_j) / \tau}}

    A node is never its own negative: its older keys in the queue are left out for it. The paper's
    denominator has the queue and the node's own key only; here it also has the batch's other keys, so that
    there are negatives while the queue is empty.

    Args:
        query: ``(B, D)`` embeddings by the encoder.
        key: ``(B, D)`` embeddings of the same nodes by its twin; they get no gradient.
        ids: ``(B,)`` int64, the nodes: distinct and ascending.
        queue: older keys.
        temperature: ``tau > 0``.

    [1] He et al., CVPR 2020, https://arxiv.org/abs/1911.05722
    """
    place = torch.searchsorted(ids, queue.ids).clamp_(max=len(ids) - 1)
    hidden = torch.where(ids[place] == queue.ids, place, -1)
    own = torch.arange(len(ids), device=ids.device)
    keys = torch.cat([key.detach(), queue.keys])
    return info_nce(query, keys, temperature, own=own, hidden=torch.cat([torch.full_like(own, -1), hidden]))


class MomentumContrast(nn.Module):
    """Contrast one view with a momentum twin's embeddings of the other, against a queue of them (MoCo, [1]).

    Three passes, one of them without gradient. Queries are the distinct users and positive items of the
    batch in the first view, keys the same nodes in the second, by the twin. Users and items have a queue
    each. After each step of the optimiser the twin follows the encoder and the keys are pushed. A projection
    head has a twin too, and keys and queue hold projections (MoCo v2, [2]).

    Args:
        encoder: the twin starts equal to it.
        temperature: of InfoNCE.
        momentum: of the twin; near 1, so that keys of different steps are comparable.
        queue_size: keys in each queue.
        head_layers: layers of a projection head; 0 for none.
        generator: draws its start.

    [1] He et al., CVPR 2020, https://arxiv.org/abs/1911.05722
    [2] Chen et al., 2020, https://arxiv.org/abs/2003.04297
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Annotated[float, TEMPERATURE] = 0.2,
        momentum: Annotated[float, MOMENTUM] = 0.99,
        queue_size: Annotated[int, QUEUE_SIZE] = 4096,
        head_layers: Annotated[int, HEAD_LAYERS] = 0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.twin = Twin(encoder, momentum)
        self.heads = Heads(encoder.layer_zero[0].shape[1], head_layers, generator=generator)
        self.twin_heads = copy.deepcopy(self.heads).requires_grad_(False)
        self.users, self.items = (KeyQueue(queue_size, side.shape[1]) for side in encoder.layer_zero)
        self._fresh: list[tuple[KeyQueue, Tensor, Tensor]] = []  # of all parts of a step

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph itself and InfoNCE over users plus that over items."""
        nodes = step.nodes()
        query = self.heads(step.encode(step.views[0]).rows(*nodes))
        with torch.no_grad():
            of_twin: Embeddings = self.twin_heads(
                step.encode(step.views[1], encoder=self.twin.encoder).rows(*nodes)
            )
        key = unit(of_twin.users), unit(of_twin.items)
        losses = []
        for asks, answers, ids, queue in zip(query, key, nodes, (self.users, self.items), strict=True):
            losses.append(queue_contrast(asks, answers, ids, queue, self.temperature))
            self._fresh.append((queue, answers, ids))
        return Contrasted(step.encode(), torch.stack(losses).sum())

    def after_step(self, encoder: Encoder) -> None:  # noqa: ARG002
        """Push the keys of the step; the heads of the twin follow."""
        follow(self.twin_heads, self.heads, self.twin.momentum)
        for queue, keys, ids in self._fresh:
            queue.push(keys, ids)
        self._fresh = []
