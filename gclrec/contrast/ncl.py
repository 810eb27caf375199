"""Neighbourhood-enriched contrast (NCL): a node with its even-hop neighbours and with its cluster."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Around, Setting, Span
from gclrec.common.errors import SettingError
from gclrec.contrast.base import HEAD_LAYERS, SSL_LAYER, TEMPERATURE, Contrasted, TrainingStep
from gclrec.contrast.heads import Heads
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit
from gclrec.losses.info_nce import info_nce

_NODES_A_CLUSTER = 4  # at least, on average
_ROUNDS = 25

_ITEM_WEIGHT = Setting(
    "item_weight",
    "Weight of ncl's layers of items, beside 1 for those of users.",
    low=0,
    search=Span(0.5, 2.0),
)
_PROTOTYPE_WEIGHT = Setting(
    "prototype_weight", "Weight of ncl's prototypes, beside 1 for its layers.", low=0, search=Around(10.0)
)
_CLUSTERS = Setting(
    "clusters",
    "Prototypes that ncl makes of each side by k-means, at most a quarter of its nodes.",
    low=1,
    search=Around(5.0),
)
_CLUSTER_AFTER = Setting("cluster_after", "Epochs before ncl first makes prototypes.", low=0)


def check_ncl(*, layer: int, **others: object) -> None:
    """Refuse a layer that does not end where it began: only even ones lead from users to users."""
    del others
    if layer < 2 or layer % 2:
        raise SettingError("layer", f"ncl takes an even layer from 2 on, got {layer}")


class NCL(nn.Module):
    r"""Contrast a node's even layer with its layer 0, and its layer 0 with its prototype (NCL, [1]).

    .. math:: S_U + \alpha S_I + \beta (P_U + P_I)

    :math:`S` is InfoNCE between the output of an even layer, which summarises neighbours of the same side,
    and layer 0 of *all* nodes of the side; the positive is the node itself. :math:`P` is InfoNCE between
    layer 0 and the centroids of a k-means of layer 0; the positive is the node's own centroid. Both are means
    over the distinct nodes of the batch. Centroids get no gradient and are found anew at every epoch.

    With a projection head, layers and centroids are compared as it projects them.

    One pass, on a single view, which the ranking loss acts on too; that of NCL is the graph itself.

    Args:
        encoder: a graph encoder of at least ``layer`` layers.
        temperature: of InfoNCE.
        layer: the layer to contrast with layer 0; even and at least 2.
        item_weight: :math:`\alpha`.
        prototype_weight: :math:`\beta`; 0 does without prototypes.
        clusters: prototypes of each side, at most a quarter of its nodes.
        after: epochs before the first clustering; until then there are no prototypes.
        head_layers: layers of a projection head, one for users and one for items; 0 for none.
        generator: draws the seed of the clustering and the start of the heads.

    Raises:
        SettingError: ``layer`` is odd or below 2.

    [1] Lin et al., WWW 2022, https://arxiv.org/abs/2202.06200
    """

    user_centroids: Tensor
    item_centroids: Tensor
    user_clusters: Tensor
    item_clusters: Tensor

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Annotated[float, TEMPERATURE] = 0.2,
        layer: Annotated[int, SSL_LAYER] = 2,
        item_weight: Annotated[float, _ITEM_WEIGHT] = 1.0,
        prototype_weight: Annotated[float, _PROTOTYPE_WEIGHT] = 0.1,
        clusters: Annotated[int, _CLUSTERS] = 1000,
        after: Annotated[int, _CLUSTER_AFTER] = 5,
        head_layers: Annotated[int, HEAD_LAYERS] = 0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        check_ncl(layer=layer)
        self.temperature = temperature
        self.layer = layer
        self.item_weight = item_weight
        self.prototype_weight = prototype_weight
        self.after = after
        self.seed = int(torch.randint(2**30, (), generator=generator))
        self.epoch = 0
        self.heads = Heads(encoder.layer_zero[0].shape[1], head_layers, generator=generator)
        for side, x in zip(("user", "item"), encoder.layer_zero, strict=True):
            count = min(clusters, max(len(x) // _NODES_A_CLUSTER, 1))
            self.register_buffer(f"{side}_centroids", x.new_zeros(count, x.shape[1]).detach())
            self.register_buffer(f"{side}_clusters", torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:
        """Cluster layer 0 of both sides, from epoch ``after + 1`` on."""
        self.epoch = epoch
        if self.prototype_weight == 0.0 or epoch <= self.after:
            return
        users, items = encoder(graph, layers=True).layers[0]
        for x, centroids, clusters in (
            (users, self.user_centroids, self.user_clusters),
            (items, self.item_centroids, self.item_clusters),
        ):
            found, own = kmeans(x, len(centroids), seed=self.seed + epoch)
            centroids.copy_(found)
            clusters.copy_(own)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the view and the weighted sum of the four parts."""
        final = step.encode(step.views[0], layers=True)
        nodes = step.nodes()
        bases: Embeddings = self.heads(Embeddings(*final.layers[0]))
        deeper: Embeddings = self.heads(Embeddings(*final.layers[self.layer]).rows(*nodes))
        centres: Embeddings = self.heads(Embeddings(self.user_centroids, self.item_centroids))
        weights, clustered = (1.0, self.item_weight), (self.user_clusters, self.item_clusters)
        parts = []
        for base, deep, nodes_of, weight, centroids, clusters in zip(
            bases, deeper, nodes, weights, centres, clustered, strict=True
        ):
            parts.append(weight * info_nce(deep, base, self.temperature, own=nodes_of))
            if self.prototype_weight and self.epoch > self.after:
                own = clusters.index_select(0, nodes_of)
                drawn = info_nce(base.index_select(0, nodes_of), centroids, self.temperature, own=own)
                parts.append(self.prototype_weight * drawn)
        return Contrasted(final, torch.stack(parts).sum())


def kmeans(vectors: Tensor, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return unit centroids, ``(K, D)``, and the number of the one nearest to each vector, ``(N,)``.

    The vectors are clustered by Euclidean distance at their own lengths, from at most 256 drawn vectors a
    cluster (faiss, https://arxiv.org/abs/2401.08281). The same vectors and seed give the same result.

    Args:
        vectors: ``(N, D)``; they get no gradient.
        count: ``K <= N``.
        seed: of the start.
    """
    import faiss

    x = vectors.detach().float().cpu().contiguous().numpy()
    clustering = faiss.Kmeans(x.shape[1], count, niter=_ROUNDS, seed=seed, min_points_per_centroid=1)
    clustering.train(x)
    _, nearest = clustering.index.search(x, 1)
    centroids = unit(torch.from_numpy(clustering.centroids))
    return centroids.to(vectors), torch.from_numpy(nearest[:, 0]).to(vectors.device)
