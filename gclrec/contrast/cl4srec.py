"""Contrast of histories: two augmented copies of the items that a user took last (CL4SRec)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import SettingError
from gclrec.contrast.base import TEMPERATURE, Contrasted, TrainingStep
from gclrec.encoders import Embeddings, Encoder, EncodesHistories
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.info_nce import info_nce
from gclrec.losses.temperature import Temperature, current


def history_crop(rows: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Keep one contiguous part of each history, ``1 - p`` of it, at a random position (item crop, [1]).

    Args:
        rows: ``(B, n)`` item numbers, the newest last, ``-1`` in front of them; never modified.
        p: share that is dropped, in ``[0, 1)``; at least one item is kept.
        generator: source of randomness; the global one if ``None``.

    [1] Xie et al., ICDE 2022, https://arxiv.org/abs/2010.14395
    """
    places, length, front = _layout(rows)
    kept = (length - _share(length, p)).clamp(min=1)
    shift = _below(length - kept + 1, generator)  # items behind the kept part
    source = places - shift
    held = rows.gather(1, source.clamp(min=0).expand_as(rows))
    return torch.where((places >= front + length - kept) & (length > 0), held, -1)


def history_mask(rows: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Hide ``p`` of each history, at random positions, which stay empty (item mask, [1]).

    Arguments and source are those of :func:`history_crop`.
    """
    places, length, front = _layout(rows)
    noise = _noise(rows, generator).masked_fill(places < front, -1.0)
    rank = noise.argsort(1, descending=True).argsort(1)  # among the items of the history
    return rows.masked_fill(rank < _share(length, p).minimum(length - 1), -1)


def history_reorder(rows: Tensor, p: float, *, generator: Generator | None = None) -> Tensor:
    """Shuffle one contiguous part of each history, ``p`` of it, at a random position (item reorder, [1]).

    Arguments and source are those of :func:`history_crop`.
    """
    places, length, front = _layout(rows)
    size = _share(length, p)
    start = front + _below(length - size + 1, generator)
    inside = (places >= start) & (places < start + size)
    noise = _noise(rows, generator)
    return rows.gather(1, torch.where(inside, start + size * noise, places.to(noise.dtype)).argsort(1))


def _layout(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions ``(1, n)``, and the length and the start of each history, ``(B, 1)`` each."""
    length = (rows >= 0).sum(1, keepdim=True)
    return torch.arange(rows.shape[1], device=rows.device)[None], length, rows.shape[1] - length


def _share(length: Tensor, p: float) -> Tensor:
    return (length * p + 1e-6).floor().long()


def _noise(rows: Tensor, generator: Generator | None) -> Tensor:
    return torch.rand(rows.shape, generator=generator, device=rows.device, dtype=torch.float64)


def _below(bound: Tensor, generator: Generator | None) -> Tensor:
    """Return a random whole number from 0 below each bound."""
    return (_noise(bound, generator) * bound).floor().long()


HISTORY_VIEWS: Mapping[str, Callable[..., Tensor]] = {
    "history_crop": history_crop,
    "history_mask": history_mask,
    "history_reorder": history_reorder,
}
"""How a view of histories is made: ``view(rows, p, *, generator)``."""

_VIEWS = Setting(
    "history_views",
    f"How histories change a history: names from {', '.join(HISTORY_VIEWS)}, with commas between them; each "
    "user gets one of them at random.",
)
_DROP = Setting(
    "history_drop",
    "Share of a history that views of histories cut off, hide or shuffle.",
    low=0,
    high=1,
    closed=False,
    search=Span(0.1, 0.8),
)


def parse_history_views(text: str) -> tuple[str, ...]:
    """Return the names in :data:`HISTORY_VIEWS` of a text ``A,B``.

    Raises:
        SettingError: a name is not known or occurs twice; the argument is called ``views``.
    """
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in HISTORY_VIEWS:
            raise SettingError("views", f"{name!r} is not one of {', '.join(HISTORY_VIEWS)}")
    if len(set(names)) < len(names):
        raise SettingError("views", f"a name occurs twice in {text!r}")
    return names


def check_histories(*, views: str, **others: object) -> None:
    """Refuse names that are not views of histories, see :func:`parse_history_views`."""
    del others
    parse_history_views(views)


class HistoryContrast(nn.Module):
    r"""Contrast two views of a user's history, beside any ranking loss (CL4SRec, [1]).

    .. math:: -\frac{1}{B} \sum_k \log
        \frac{e^{\cos(g(a_k), g(b_k)) / \tau}}{\sum_j e^{\cos(g(a_k), g(b_j)) / \tau}}

    over the distinct users of the batch with two items or more, with ``a``, ``b`` two views of their newest
    items, each by one of ``views``, drawn anew for each user, and ``g`` the tower of a user without id and
    attributes. In the paper the other views ``a_j`` are negatives too.

    Args:
        encoder: one that encodes histories.
        temperature: of InfoNCE.
        views: names in :data:`HISTORY_VIEWS` with commas between them.
        p: share of a history that changes.

    Raises:
        SettingError: the encoder has no histories, or a name is not known.

    [1] Xie et al., ICDE 2022, https://arxiv.org/abs/2010.14395
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Annotated[Temperature, TEMPERATURE] = 0.2,
        views: Annotated[str, _VIEWS] = "history_crop,history_mask",
        p: Annotated[float, _DROP] = 0.4,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.temperature, self.p = temperature, p
        self.views = parse_history_views(views)
        if not (isinstance(encoder, EncodesHistories) and encoder.sequences):
            raise SettingError("encoder", "it has no histories of users to contrast")

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph itself and InfoNCE between views of histories."""
        return self.beside(step, step.encode())

    def beside(self, step: TrainingStep, main: Embeddings) -> Contrasted:
        """Return the loss, and embeddings to rank by as they are."""
        return Contrasted(main, self.loss(step, main))

    def loss(self, step: TrainingStep, main: Embeddings) -> Tensor:
        """Return InfoNCE between two views of histories; zero where no user of the batch has two items."""
        encoder: object = step.encoder
        assert isinstance(encoder, EncodesHistories)
        assert encoder.sequences is not None
        rows = encoder.sequences.newest(step.users.unique())
        rows = rows[(rows >= 0).sum(1) > 1]
        anchor, positive = (
            encoder.encode_history(main.items, self._changed(rows, step.generator)) for _ in range(2)
        )
        if len(rows) == 0:
            return anchor.sum()
        return info_nce(anchor, positive, current(self.temperature))

    def _changed(self, rows: Tensor, generator: Generator | None) -> Tensor:
        made = [HISTORY_VIEWS[name](rows, self.p, generator=generator) for name in self.views]
        if len(made) == 1:
            return made[0]
        which = torch.randint(len(made), (len(rows),), generator=generator, device=rows.device)
        return torch.stack(made)[which, torch.arange(len(rows), device=rows.device)]
