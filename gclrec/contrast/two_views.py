"""InfoNCE between two views of the same nodes (SimCLR, SGL)."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Setting
from gclrec.common.errors import check_choice
from gclrec.contrast.base import HEAD_LAYERS, TEMPERATURE, Contrasted, TrainingStep
from gclrec.contrast.heads import Heads
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.info_nce import info_nce
from gclrec.losses.temperature import Temperature, current

NEGATIVE_NODES = ("batch", "all")
"""The nodes that InfoNCE between two views compares a node with: the batch's others, or all others."""

_SSL_NEGATIVES = Setting(
    "ssl_negatives",
    "What infonce compares a node with: batch is the batch's other nodes, all is all others.",
    choices=NEGATIVE_NODES,
)


class TwoViews(nn.Module):
    """Rank on the whole graph and contrast two views of it (SimCLR's form, [1]; SGL's with all nodes, [2]).

    Three passes. Anchors are the *distinct* users and the distinct positive items of the batch, in the first
    view; each is compared with itself and with other nodes of its side in the second.

    Args:
        temperature: of InfoNCE.
        negatives: one of :data:`NEGATIVE_NODES`. All nodes cost ``(U + I) / B`` times as much.
        head_layers: layers of a projection head, whose output only this loss compares; 0 for none.

    Raises:
        SettingError: ``negatives`` is not a known name.

    [1] Chen et al., ICML 2020, https://arxiv.org/abs/2002.05709
    [2] Wu et al., SIGIR 2021, https://arxiv.org/abs/2010.10783
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Annotated[Temperature, TEMPERATURE] = 0.2,
        negatives: Annotated[str, _SSL_NEGATIVES] = "batch",
        head_layers: Annotated[int, HEAD_LAYERS] = 0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("negatives", negatives, NEGATIVE_NODES)
        self.temperature = temperature
        self.negatives = negatives
        self.heads = Heads(encoder.layer_zero[0].shape[1], head_layers, generator=generator)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph itself and InfoNCE over users plus that over items."""
        nodes = step.nodes()
        owns: tuple[Tensor | None, ...] = (None, None)
        first, second = step.views
        # Only the batch's rows of a view are kept, so that the next view can use memory that is still cached.
        anchors = step.encode(first).rows(*nodes)
        keys = step.encode(second)
        if self.negatives == "all":
            owns = nodes
        else:
            keys = keys.rows(*nodes)
        temperature = current(self.temperature)
        sides = zip(self.heads(anchors), self.heads(keys), owns, strict=True)
        losses = [info_nce(anchor, key, temperature, own=own) for anchor, key, own in sides]
        return Contrasted(step.encode(), torch.stack(losses).sum())
