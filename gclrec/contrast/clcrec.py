"""Contrast between what a node does and what it is: collaborative vectors and attributes (CLCRec)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, cast

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Around, Setting, Span
from gclrec.common.errors import SettingError
from gclrec.contrast.base import HEAD_LAYERS, TEMPERATURE, Contrasted, TrainingStep
from gclrec.contrast.heads import Heads
from gclrec.data.schema import Attributes
from gclrec.encoders import Embeddings, Encoder
from gclrec.encoders.content.attribute_map import PredictsVectors
from gclrec.encoders.content.bag_encoder import BagEncoder, TrainedMap
from gclrec.encoders.content.content import SIDES
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.sampling import bernoulli
from gclrec.losses.info_nce import info_nce
from gclrec.losses.temperature import Temperature, current

_REPLACE = Setting(
    "content_share",
    "Probability that the ranking loss sees what content makes of attributes in place of a node's vector.",
    low=0,
    high=1,
    search=Span(0.0, 0.8),
)
_HIDDEN = Setting(
    "content_hidden",
    "Hidden units of content's encoder of attributes; 0 makes it linear.",
    low=0,
    high=65536,
    search=Around(4.0),
)


class ContentContrast(nn.Module):
    r"""Contrast the vector of a node with what an encoder makes of its attributes alone (CLCRec, [1]).

    .. math:: -\frac{1}{2B} \sum_k \Big( \log
        \frac{e^{\cos(x_k, f_k) / \tau}}{\sum_j e^{\cos(x_k, f_j) / \tau}} + \log
        \frac{e^{\cos(x_k, f_k) / \tau}}{\sum_j e^{\cos(x_j, f_k) / \tau}} \Big)

    over the distinct users, and over the distinct items, of the batch that have a known attribute; both are
    added, where both have attributes. :math:`x` is the final vector of the encoder, made of ids and graph,
    and :math:`f` that of the attributes (:class:`~gclrec.encoders.content.bag_encoder.BagEncoder`). The
    paper has the first of the two terms, and MF as the encoder.

    In the ranking loss each row of such a side, positive or negative, is :math:`f` in place of :math:`x` with
    probability ``share`` (the paper's hybrid training), so that users learn to rank by attributes too. A node
    without interactions is ranked by :math:`f`. With a projection head the contrast compares what it makes of
    :math:`x` and :math:`f`, and the ranking loss the vectors themselves.

    Args:
        encoder: one of ids alone.
        graph: the training graph.
        attributes: of users, items or both.
        temperature: of InfoNCE.
        share: probability of a replacement.
        hidden: units of the encoder of attributes.
        head_layers: layers of a projection head, one for users and one for items; 0 for none.
        generator: draws the starts.

    Raises:
        SettingError: there are no attributes.

    [1] Wei et al., MM 2021, https://arxiv.org/abs/2107.05315
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,
        *,
        attributes: Attributes | None = None,
        temperature: Annotated[Temperature, TEMPERATURE] = 0.2,
        share: Annotated[float, _REPLACE] = 0.5,
        hidden: Annotated[int, _HIDDEN] = 256,
        head_layers: Annotated[int, HEAD_LAYERS] = 0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.share = temperature, share
        self.encoders = nn.ModuleDict()
        maps: dict[str, PredictsVectors] = {}
        dim = encoder.layer_zero[1].shape[1]
        for side, degrees in zip(SIDES, graph.degrees(), strict=True):
            table = getattr(attributes, f"{side}s", None)
            if table is not None:
                made = BagEncoder(table, dim, hidden=hidden, generator=generator)
                self.encoders[side] = made
                maps[side] = TrainedMap(made, degrees)
        self.maps: Mapping[str, PredictsVectors] = maps
        self.heads = Heads(dim, head_layers, generator=generator)
        if not maps:
            raise SettingError("ssl", "content contrasts attributes, and there are none")

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return embeddings, some of whose rows are replaced when they are asked for, and the loss."""
        return self.beside(step, step.encode())

    def beside(self, step: TrainingStep, main: Embeddings) -> Contrasted:
        """Return embeddings to rank by, some of whose rows are replaced, and the loss."""
        return Contrasted(self.hybrid(main, step), self.loss(step, main, current(self.temperature)))

    def hybrid(self, final: Embeddings, step: TrainingStep) -> Embeddings:
        """Return embeddings some of whose rows are replaced when they are asked for."""

        def replaced(numbers: tuple[Tensor, Tensor], rows: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            users = self._replaced("user", numbers[0], rows[0], step.generator)
            return users, self._replaced("item", numbers[1], rows[1], step.generator)

        return replace(final, replace=replaced if self.share else None)

    def loss(self, step: TrainingStep, final: Embeddings, temperature: float | Tensor) -> Tensor:
        """Return InfoNCE between vectors and attributes, both ways, summed over sides."""
        nodes = [
            each[self._encoder(side).known[each]] if side in self.encoders else each[:0]
            for side, each in zip(SIDES, step.nodes(), strict=True)
        ]
        losses = []
        for side, found, own in zip(SIDES, nodes, final.rows(nodes[0], nodes[1]), strict=True):
            if side not in self.encoders:
                continue
            made = self._encoder(side)(found)
            if len(found) == 0:
                losses.append(made.sum())
                continue
            head = self.heads.users if side == "user" else self.heads.items
            own, made = head(own), head(made)
            losses.append((info_nce(own, made, temperature) + info_nce(made, own, temperature)) / 2)
        return torch.stack(losses).sum()

    def _replaced(self, side: str, numbers: Tensor, rows: Tensor, generator: Generator | None) -> Tensor:
        """Return rows of one side, each with some probability as its attributes have it."""
        if side not in self.encoders:
            return rows
        encoder = self._encoder(side)
        drawn = bernoulli(len(numbers), self.share, generator=generator, device=rows.device)
        places = (drawn & encoder.known[numbers]).nonzero()[:, 0]
        nodes, which = numbers[places].unique(return_inverse=True)
        return rows.index_copy(0, places, encoder(nodes).index_select(0, which).to(rows.dtype))

    def _encoder(self, side: str) -> BagEncoder:
        return cast("BagEncoder", self.encoders[side])
