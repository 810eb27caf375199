"""InfoNCE between two embeddings of the same nodes: two views (SimCLR, SGL) or two layers (XSimGCL)."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.base import Contrasted, Moment
from gclrec.contrast.heads import Heads
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.info_nce import info_nce
from gclrec.losses.temperature import Temperature, current

NEGATIVE_NODES = ("batch", "all")
"""What InfoNCE between two views compares a node with: the batch's other nodes, or all others there are."""


class TwoViews(nn.Module):
    """Rank on the whole graph and contrast two views of it (SimCLR's form, [1]; SGL's with all nodes, [2]).

    Three passes. Anchors are the *distinct* users and the distinct positive items of the batch, in the first
    view; each is compared with itself and with other nodes of its side in the second.

    Args:
        encoder: not kept; the head takes its embeddings' length.
        graph: not kept.
        temperature: of InfoNCE; a number or :class:`~gclrec.losses.temperature.Learned`.
        negatives: one of :data:`NEGATIVE_NODES`. All nodes cost ``(U + I) / B`` times as much.
        head_layers: layers of a projection head, whose output is compared in place of the embeddings and
            used for nothing else; 0 for none.
        head_dim: length of that output; that of an embedding if ``None``.
        generator: where the head's start is drawn from; the global one if ``None``.

    Raises:
        ValueError: ``negatives`` is not a known name.

    [1] Chen et al., ICML 2020, https://arxiv.org/abs/2002.05709
    [2] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Temperature = 0.2,
        negatives: str = "batch",
        head_layers: int = 0,
        head_dim: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        if negatives not in NEGATIVE_NODES:
            raise ValueError(f"negatives must be one of {', '.join(NEGATIVE_NODES)}, got {negatives!r}")
        self.temperature = temperature
        self.negatives = negatives
        dim = encoder.layer_zero[0].shape[1]
        self.heads = Heads(dim, head_layers, out_dim=head_dim, generator=generator)

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the graph itself and InfoNCE over users plus that over items."""
        nodes = moment.users.unique(), moment.items.unique()
        owns: tuple[Tensor | None, ...] = (None, None)
        first, second = moment.views
        # Only rows are kept of a view, so that what the next one fills is still near at hand.
        anchors = rows_of(first.encode(moment.encoder), *nodes)
        keys = second.encode(moment.encoder)
        if self.negatives == "all":
            owns = nodes
        else:
            keys = rows_of(keys, *nodes)
        temperature = current(self.temperature)
        sides = zip(self.heads(anchors), self.heads(keys), owns, strict=True)
        losses = [info_nce(anchor, key, temperature, own=own) for anchor, key, own in sides]
        return Contrasted(moment.encoder(moment.graph), torch.stack(losses).sum())


class CrossLayer(nn.Module):
    """Rank on one view and contrast its final embeddings with those of one of its layers (XSimGCL, [1]).

    One pass instead of three, on a single view; XSimGCL's is ``noise``.

    Args:
        encoder: a graph encoder of at least ``layer`` layers; not kept.
        graph: not kept.
        temperature: of InfoNCE; a number or :class:`~gclrec.losses.temperature.Learned`.
        layer: the layer ``l*`` to contrast with, from 0 (the input).
        generator: nothing is drawn.

    [1] Yu et al., TKDE 2023, https://arxiv.org/abs/2209.02544
    """

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002 - the signature of all
        graph: BipartiteGraph,  # noqa: ARG002
        *,
        temperature: Temperature = 0.2,
        layer: int = 1,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.layer = layer

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the view and InfoNCE over users plus that over items."""
        final = moment.views[0].encode(moment.encoder, layers=True)
        layer = Embeddings(*final.layers[self.layer])
        return Contrasted(
            final, node_contrast(final, layer, moment.users, moment.items, current(self.temperature))
        )


def node_contrast(
    first: Embeddings, second: Embeddings, users: Tensor, items: Tensor, temperature: float | Tensor
) -> Tensor:
    """Return InfoNCE between two embeddings of the distinct users of a batch, plus the same for items.

    Args:
        first: the anchors' side.
        second: the other side; the same nodes.
        users: ``(B,)`` user numbers, repeated or not.
        items: ``(B,)`` item numbers.
        temperature: of InfoNCE.
    """
    nodes = users.unique(), items.unique()
    sides = zip(rows_of(first, *nodes), rows_of(second, *nodes), strict=True)
    return torch.stack([info_nce(a, b, temperature) for a, b in sides]).sum()


def rows_of(embeddings: Embeddings, users: Tensor, items: Tensor) -> Embeddings:
    """Return the embeddings of some users and some items."""
    return Embeddings(embeddings.users.index_select(0, users), embeddings.items.index_select(0, items))
