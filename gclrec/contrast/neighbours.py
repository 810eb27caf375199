"""Supervised contrast: interacted and similar nodes are positives too.

The forms of :class:`Interacted` take the embeddings of all nodes, the training interactions, the users
``(B,)`` and items ``(B,)`` of the batch's pairs and the temperature ``tau``, and return a scalar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import torch
from torch import Generator, Tensor, nn
from torch.utils.checkpoint import checkpoint

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import check_choice
from gclrec.contrast.base import TEMPERATURE, Contrasted, TrainingStep
from gclrec.encoders import Embeddings, Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit
from gclrec.graph.nearest import nearest_table
from gclrec.losses.info_nce import info_nce
from gclrec.losses.log_sum_exp import log_sum_exp, mean_log_sum_exp
from gclrec.negatives.sampler import seen_places


def unseen(
    final: Embeddings, graph: BipartiteGraph, users: Tensor, items: Tensor, temperature: float
) -> Tensor:
    r"""Return gclrec's own contrast: a user close to its item and far from items that it has not seen.

    .. math:: -\frac{1}{B} \sum_{(u, i)} \log
        \frac{e^{\cos(u, i) / \tau}}{\sum_{i' \in I \setminus N_u} e^{\cos(u, i') / \tau}}

    :math:`I` are the *distinct* items of the batch and :math:`N_u` the items of ``u``, which are no
    negatives, unlike in a plain softmax over the batch. Neither is the positive itself, which as a part of
    the sum weakens the gradient (decoupled contrastive learning, [1]), so a loss below 0 is possible. A user
    who has seen every item of the batch adds 0 to the mean.

    Example:
        >>> import torch
        >>> from gclrec.encoders import Embeddings
        >>> from gclrec.graph.bipartite import BipartiteGraph
        >>> pairs = torch.tensor([[0, 1], [0, 1]])
        >>> final = Embeddings(torch.eye(2), torch.eye(2))
        >>> unseen(final, BipartiteGraph(2, 2, pairs), *pairs, temperature=0.5).item()
        -2.0

    [1] Yeh et al., ECCV 2022, https://arxiv.org/abs/2110.06848
    """
    nodes, place = items.unique(return_inverse=True)
    user, item = _unit_rows(final, users, nodes)
    below = log_sum_exp(user / temperature, item, seen=seen_places(graph, users, nodes))
    above = (user * item.index_select(0, place)).sum(1) / temperature
    return (below - above).masked_fill(below.isneginf(), 0.0).mean()


def egcf(
    final: Embeddings,
    graph: BipartiteGraph,  # noqa: ARG001
    users: Tensor,
    items: Tensor,
    temperature: float,
) -> Tensor:
    r"""Return EGCF's contrast ([1]): users apart, items apart, and a user close to its item.

    .. math:: L(U, U) + L(I, I) - \frac{1}{B} \sum_{(u, i)} \log
        \frac{e^{\cos(u, i) / \tau}}{\sum_{i' \in I} e^{\cos(u, i') / \tau}}

    :math:`U, I` are the *distinct* users and items of the batch and :math:`L` is InfoNCE of a set with
    itself: there is no second view, so it only spreads the set out.

    [1] Zhang et al., ACM TOIS 2025, https://doi.org/10.1145/3701230
    """
    nodes, place = items.unique(return_inverse=True)
    own_users, own_items = final.rows(users.unique(), nodes)
    parts = [
        info_nce(own_users, own_users, temperature),
        info_nce(own_items, own_items, temperature),
        info_nce(final.rows(users, nodes).users, own_items, temperature, own=place),
    ]
    return torch.stack(parts).sum()


def lightccf(
    final: Embeddings,
    graph: BipartiteGraph,  # noqa: ARG001
    users: Tensor,
    items: Tensor,
    temperature: float,
) -> Tensor:
    r"""Return LightCCF's neighbourhood aggregation ([1]): a pair away from the users and items of others.

    .. math:: -\frac{1}{B} \sum_b \log \frac{e^{\cos(u_b, i_b) / \tau}}
        {\sum_c e^{(\cos(u_b, i_c) + \cos(u_b, u_c)) / \tau}}

    The sum is over all rows ``c`` of the batch, ``b`` included and repeated nodes too.

    [1] Zhang et al., SIGIR 2025, https://arxiv.org/abs/2504.10113
    """
    user, item = _unit_rows(final, users, items)
    return mean_log_sum_exp(user / temperature, user + item) - (user * item).sum(1).mean() / temperature


def sccf(
    final: Embeddings,
    graph: BipartiteGraph,  # noqa: ARG001
    users: Tensor,
    items: Tensor,
    temperature: float,
) -> Tensor:
    r"""Return SCCF's loss ([1]), meant to be used without a ranking loss.

    .. math:: -\frac{1}{B} \sum_b \log s(u_b, i_b) + \log \frac{1}{B^2} \sum_{b, c} s(u_b, i_c), \qquad
        s(u, i) = e^{\cos(u, i) / \tau} + e^{\cos(u, i)^2 / \tau}

    Repeated nodes count as often as they occur.

    [1] Wu et al., KDD 2024, https://arxiv.org/abs/2406.13996
    """
    user, item = _unit_rows(final, users, items)
    above = _log_second_order((user * item).sum(1), temperature).mean()
    rows = max(_BLOCK // max(len(item), 1), 1)
    blocks = [  # each block's matrix is computed again in the backward pass, so that none is kept
        checkpoint(partial(_log_sum, temperature), part, item, use_reentrant=False, preserve_rng_state=False)
        for part in user.split(rows)
    ]
    count = torch.tensor(float(len(user)), dtype=user.dtype, device=user.device)
    return torch.logsumexp(torch.stack(blocks), 0) - 2.0 * count.log() - above


_BLOCK = 2**20


def _log_sum(temperature: float, user: Tensor, item: Tensor) -> Tensor:
    return torch.logsumexp(_log_second_order(user @ item.T, temperature).view(-1), 0)


def _log_second_order(cosine: Tensor, temperature: float) -> Tensor:
    return torch.logaddexp(cosine / temperature, cosine.square() / temperature)


def _unit_rows(final: Embeddings, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    user, item = final.rows(users, items)
    return unit(user), unit(item)


FORMS: Mapping[str, Callable[[Embeddings, BipartiteGraph, Tensor, Tensor, float], Tensor]] = {
    "unseen": unseen,
    "egcf": egcf,
    "lightccf": lightccf,
    "sccf": sccf,
}
"""What an interacted pair is compared with; each returns a scalar."""

_FORM = Setting(
    "neighbour_form", f"What neighbour compares a pair with, as in {', '.join(FORMS)}.", choices=FORMS
)
_NEAREST = Setting(
    "nearest",
    "Nearest users and items of each, of which nearest draws one.",
    low=1,
    search=Span(1, 20, log=True),
)


class Interacted(nn.Module):
    """Pull the two ends of an interaction together and away from the batch (supervised contrast).

    One pass, on a single view, which the ranking loss acts on too; that of the papers is the graph itself.

    Args:
        temperature: ``tau``.
        form: what a pair is compared with, a name in :data:`FORMS`.

    Raises:
        SettingError: ``form`` is not a known name.
    """

    of_batch = True

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002 - the signature of all
        graph: BipartiteGraph,  # noqa: ARG002
        *,
        temperature: Annotated[float, TEMPERATURE] = 0.2,
        form: Annotated[str, _FORM] = "egcf",
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        self.temperature = temperature
        self.form = form

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the view and the loss over the batch's pairs."""
        final = step.encode(step.views[0])
        return Contrasted(
            final, FORMS[self.form](final, step.graph, step.users, step.items, self.temperature)
        )


class Nearest(nn.Module):
    r"""Contrast two views with three positives: the node, its other end, and a similar node (NESCL, [1]).

    For an anchor ``a`` of the first view, :math:`P` holds, of the second view, ``a`` itself, the other end of
    its pair, and one node drawn from its nearest by the cosine of the training matrix; :math:`N` are the
    distinct nodes of the batch of *both* sides, in the second view:

    .. math:: -\log \frac{1}{|P|} \sum_{p \in P} \frac{e^{\cos(a, p) / \tau}}
        {\sum_{n \in N} e^{\cos(a, n) / \tau}}

    The loss is the mean over the users of the batch's pairs plus the same over their items. The drawn node
    need not be in the batch, so a loss below 0 is possible. A node without neighbours takes their place
    itself. Neighbours are not weighted by their cosine, as in the settings that the authors publish. The
    anchor is the query, as in the paper's formulas; in the authors' code the positives are the queries.

    Three passes: ranking on the whole graph, and two views. The neighbours are found once.

    Args:
        graph: its nearest users and items are found.
        temperature: ``tau``.
        count: how many nearest nodes one is drawn from.

    [1] Sun et al., TKDE 2023, https://arxiv.org/abs/2402.11523
    """

    near_users: Tensor
    near_items: Tensor
    user_counts: Tensor
    item_counts: Tensor

    def __init__(
        self,
        encoder: Encoder,  # noqa: ARG002 - the signature of all
        graph: BipartiteGraph,
        *,
        temperature: Annotated[float, TEMPERATURE] = 0.2,
        count: Annotated[int, _NEAREST] = 5,
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        self.temperature = temperature
        matrix = graph.to_scipy()
        for side, rows in (("user", matrix), ("item", matrix.T.tocsr())):
            table, found = nearest_table(rows, count)
            self.register_buffer(f"near_{side}s", torch.from_numpy(table), persistent=False)
            self.register_buffer(f"{side}_counts", torch.from_numpy(found), persistent=False)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph itself and the loss over the batch's pairs."""
        users, items = step.users, step.items
        near_users = _drawn(self.near_users, self.user_counts, users, step.generator)
        near_items = _drawn(self.near_items, self.item_counts, items, step.generator)
        first, second = (step.encode(view) for view in step.views)
        user, item = _unit_rows(first, users, items)
        own_user, own_item = _unit_rows(second, users, items)
        like_user, like_item = _unit_rows(second, near_users, near_items)
        batch = torch.cat(_unit_rows(second, users.unique(), items.unique()))
        parts = []
        for anchor, positives in (
            (user, (own_user, own_item, like_user)),
            (item, (own_item, own_user, like_item)),
        ):
            query = anchor / self.temperature
            above = torch.stack([(query * positive).sum(1) for positive in positives], dim=1)
            parts.append(mean_log_sum_exp(query, batch) - (above - math.log(3.0)).logsumexp(1).mean())
        return Contrasted(step.encode(), torch.stack(parts).sum())


def _drawn(table: Tensor, counts: Tensor, nodes: Tensor, generator: Generator | None) -> Tensor:
    """Return one of the nearest of each node, ``(B,)``."""
    place = torch.rand(len(nodes), generator=generator, device=nodes.device)
    place = (place * counts[nodes]).long()
    return table[nodes, place.clamp_(max=table.shape[1] - 1)]
