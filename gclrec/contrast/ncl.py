"""Neighbourhood-enriched contrast (NCL): a node with its even-hop neighbours, and with those of its kind."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from gclrec.contrast.base import Contrasted, Moment
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit
from gclrec.losses.info_nce import info_nce

_NODES_A_CLUSTER = 4
_ROUNDS = 25


class NCL(nn.Module):
    r"""Contrast a node's even layer with its layer 0, and its layer 0 with its prototype (NCL, [1]).

    .. math:: S_U + \alpha S_I + \beta (P_U + P_I)

    :math:`S` is InfoNCE of the output of an even layer, a summary of structural neighbours of the same
    side, against layer 0 of *all* nodes of the side, a node's own being the positive. :math:`P` is InfoNCE
    of layer 0 against the centroids of a k-means of layer 0, a node's own being the positive: its neighbours
    in meaning. Both are means over the distinct nodes of the batch. No gradient goes into centroids, which
    are found anew every few epochs.

    One pass, on a single view, which the ranking loss acts on too; NCL's is the graph itself.

    Args:
        encoder: a graph encoder of at least ``layer`` layers; its size is taken.
        graph: the training graph.
        temperature: of InfoNCE.
        layer: the even layer to contrast with layer 0.
        item_weight: :math:`\alpha`.
        prototype_weight: :math:`\beta`; 0 does without prototypes.
        clusters: prototypes of each side, at most a quarter of its nodes.
        every: epochs from one clustering to the next.
        after: epochs before the first; until then there are no prototypes.
        generator: where the seed of the clustering is drawn from; the global one if ``None``.

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
        temperature: float = 0.2,
        layer: int = 2,
        item_weight: float = 1.0,
        prototype_weight: float = 0.1,
        clusters: int = 1000,
        every: int = 1,
        after: int = 5,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.layer = layer
        self.item_weight = item_weight
        self.prototype_weight = prototype_weight
        self.every = every
        self.after = after
        self.seed = int(torch.randint(2**30, (), generator=generator))
        self.epoch = 0
        for side, x in zip(("user", "item"), encoder.layer_zero, strict=True):
            count = min(clusters, max(len(x) // _NODES_A_CLUSTER, 1))
            self.register_buffer(f"{side}_centroids", x.new_zeros(count, x.shape[1]).detach())
            self.register_buffer(f"{side}_clusters", torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:
        """Cluster layer 0 of both sides where that is due."""
        self.epoch = epoch
        since = epoch - self.after - 1
        if self.prototype_weight == 0.0 or since < 0 or since % self.every:
            return
        users, items = encoder(graph, layers=True).layers[0]
        for x, centroids, clusters in (
            (users, self.user_centroids, self.user_clusters),
            (items, self.item_centroids, self.item_clusters),
        ):
            found, own = kmeans(x, len(centroids), seed=self.seed + epoch)
            centroids.copy_(found)
            clusters.copy_(own)

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the view and the weighted sum of the four parts."""
        final = moment.views[0].encode(moment.encoder, layers=True)
        parts = []
        for side, nodes, weight, centroids, clusters in (
            (0, moment.users.unique(), 1.0, self.user_centroids, self.user_clusters),
            (1, moment.items.unique(), self.item_weight, self.item_centroids, self.item_clusters),
        ):
            base, deep = final.layers[0][side], final.layers[self.layer][side].index_select(0, nodes)
            parts.append(weight * info_nce(deep, base, self.temperature, own=nodes))
            if self.prototype_weight and self.epoch > self.after:
                own = clusters.index_select(0, nodes)
                drawn = info_nce(base.index_select(0, nodes), centroids, self.temperature, own=own)
                parts.append(self.prototype_weight * drawn)
        return Contrasted(final, torch.stack(parts).sum())


def kmeans(vectors: Tensor, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Return centroids at unit length, ``(K, D)``, and which of them is nearest to each vector, ``(N,)``.

    The clustering is that of the vectors as they are, by Euclidean distance, with at most 256 drawn vectors a
    cluster (faiss, https://arxiv.org/abs/2401.08281). The same vectors and seed give the same answer.

    Args:
        vectors: ``(N, D)``; no gradient goes into them.
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
