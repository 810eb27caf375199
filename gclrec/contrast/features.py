"""Contrast of fields: two views of what is known of a node, encoded by its attributes alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Generator, Tensor, nn

from gclrec.common.errors import InputError
from gclrec.contrast.base import Contrasted, Moment
from gclrec.encoders import Encoder, EncodesContent, FieldBatch, FieldTable
from gclrec.encoders.content.fields import SEVERAL
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.sampling import bernoulli, distinct
from gclrec.losses.info_nce import info_nce
from gclrec.losses.temperature import Temperature, current

SSL_SIDES: Mapping[str, tuple[str, ...]] = {"items": ("item",), "users": ("user",), "both": ("user", "item")}
"""Whose fields are contrasted."""

SSL_BATCHES = ("catalogue", "batch")
"""Which nodes are contrasted: drawn uniformly from all with attributes, or the distinct ones of the batch."""

_BINS = 10  # equal shares of a number's rows that mutual information tells apart
_ROWS = 20_000  # evenly spaced rows that mutual information is taken over, at most


def _dropped(batch: FieldBatch, related: Tensor, p: float, generator: Generator | None) -> list[FieldBatch]:
    """FD: values of fields that can have several, and whole fields of the other kinds, each with ``p``."""
    del related
    device = batch.missing.device
    single = torch.tensor([known.kind not in SEVERAL for known in batch.fields], device=device)
    views = []
    for _ in range(2):
        hidden = bernoulli(batch.missing.numel(), p, generator=generator, device=device)
        hidden = hidden.view_as(batch.missing) & single
        views.append(batch.drop_values(p, generator=generator).hide(hidden))
    return views


def _random(batch: FieldBatch, related: Tensor, p: float, generator: Generator | None) -> list[FieldBatch]:
    """RFM: a random half of the fields, and the other half."""
    del related
    count, device = len(batch.fields), batch.missing.device
    order = torch.randperm(count, generator=generator, device=device)
    hidden = torch.zeros(count, dtype=torch.bool, device=device).index_fill(0, order[: count // 2], True)
    return _halves(batch, hidden, p, generator)


def _correlated(
    batch: FieldBatch, related: Tensor, p: float, generator: Generator | None
) -> list[FieldBatch]:
    """CFM: a random field with those that tell most of it, and all others."""
    seed = torch.randint(len(related), (1,), generator=generator, device=related.device)
    return _halves(batch, related.index_select(0, seed)[0], p, generator)


def _halves(batch: FieldBatch, hidden: Tensor, p: float, generator: Generator | None) -> list[FieldBatch]:
    return [batch.drop_values(p, generator=generator).hide(mask) for mask in (hidden, ~hidden)]


FeatureView: TypeAlias = "Callable[[FieldBatch, Tensor, float, Generator | None], list[FieldBatch]]"
"""Two views of a batch, from what goes together ``(F, F)`` and the share of values to drop."""

FEATURE_VIEWS: Mapping[str, FeatureView] = {
    "dropout": _dropped,
    "random": _random,
    "correlated": _correlated,
}
"""How two views of a node's fields are made."""


class FieldContrast(nn.Module):
    r"""Contrast two views of a node's fields, beside any ranking loss (Yao et al., [1]).

    .. math:: -\frac{1}{B} \sum_k \log
        \frac{e^{\cos(g(a_k), g(b_k)) / \tau}}{\sum_j e^{\cos(g(a_k), g(b_j)) / \tau}}

    with ``a``, ``b`` the two views of the fields of ``B`` nodes and ``g`` the encoder's own way from fields
    to layer 0, the same for both views and without an id: what a cold node has. Views are, by ``views``,

    - ``dropout`` (FD): each value of a field that can have several is dropped with probability ``p``, each
      field of another kind is hidden with probability ``p``; twice, independently;
    - ``random`` (RFM): half of the fields, drawn anew for each batch, and the other half;
    - ``correlated`` (CFM): a field drawn anew for each batch with the half of all others (rounded down) that
      have the highest mutual information with it are hidden in the first view, all others in the second.

    The halves are the same for all nodes of a batch, or which fields are missing would give the pair away.
    Values are then dropped from them too, as in the paper. With few fields one is always left on either
    side. A node of which a view leaves nothing is left out of that batch. By default nodes are drawn
    uniformly from all that have attributes, cold ones among them; the paper found that better than those
    of the main batch, which are popular ones.

    Args:
        encoder: one that makes layer 0 of attributes; only its attributes are looked at here.
        graph: not kept.
        temperature: of InfoNCE; a number or :class:`~gclrec.losses.temperature.Learned`.
        views: a name in :data:`FEATURE_VIEWS`.
        p: share of values that is dropped.
        sides: a name in :data:`SSL_SIDES`; the losses of two sides are added.
        batch: one of :data:`SSL_BATCHES`; as many nodes are drawn as the main batch has pairs.
        generator: nothing is drawn.

    Raises:
        InputError: the encoder makes nothing of attributes, a side has none, or too few fields to divide.
        ValueError: a name is not known.

    [1] Yao et al., CIKM 2021, https://arxiv.org/abs/2007.12865
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Temperature = 0.2,
        views: str = "dropout",
        p: float = 0.1,
        sides: str = "items",
        batch: str = "catalogue",
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        for name, value, known in (
            ("views", views, tuple(FEATURE_VIEWS)),
            ("sides", sides, tuple(SSL_SIDES)),
            ("batch", batch, SSL_BATCHES),
        ):
            if value not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        self.temperature, self.views, self.p = temperature, views, p
        self.sides, self.batch = SSL_SIDES[sides], batch
        for side in self.sides:
            table = encoder.field_table(side) if isinstance(encoder, EncodesContent) else None
            if table is None:
                raise InputError(f"--ssl features: the encoder has no attributes of {side}s to contrast")
            if views != "dropout" and len(table.fields) < 2:
                name = table.fields[0].name
                raise InputError(
                    f"--feature-views {views}: {side}s have one field ({name}), which cannot be divided; "
                    "take dropout"
                )
            related = related_fields(table) if views == "correlated" else torch.empty(0)
            self.register_buffer(f"related_{side}", related, persistent=False)
            known_rows = (~table.missing).any(1).nonzero()[:, 0]
            self.register_buffer(f"known_{side}", known_rows, persistent=False)

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the graph itself and InfoNCE between views of fields."""
        return Contrasted(moment.encoder(moment.graph), self.loss(moment, current(self.temperature)))

    def loss(self, moment: Moment, temperature: float | Tensor) -> Tensor:
        """Return InfoNCE between two views of fields, summed over sides."""
        return torch.stack([self._loss(side, moment, temperature) for side in self.sides]).sum()

    def _loss(self, side: str, moment: Moment, temperature: float | Tensor) -> Tensor:
        encoder: object = moment.encoder
        assert isinstance(encoder, EncodesContent)
        table = encoder.field_table(side)
        assert table is not None
        batch = table.batch(self._rows(side, moment))
        related = cast("Tensor", getattr(self, f"related_{side}"))
        first, second = FEATURE_VIEWS[self.views](batch, related, self.p, moment.generator)
        left = ((~first.missing).any(1) & (~second.missing).any(1)).nonzero()[:, 0]
        anchor, positive = (
            encoder.encode_content(side, view).index_select(0, left) for view in (first, second)
        )
        if len(left) == 0:
            return anchor.sum()
        return info_nce(anchor, positive, temperature)

    def _rows(self, side: str, moment: Moment) -> Tensor:
        """Return the distinct nodes to contrast."""
        if self.batch == "batch":
            nodes = moment.users if side == "user" else moment.items
            return cast("Tensor", nodes.unique())
        known = cast("Tensor", getattr(self, f"known_{side}"))
        count = min(len(moment.users), len(known))
        drawn = distinct(count, len(known), generator=moment.generator, device=known.device)
        return known.index_select(0, drawn)


class WithFields(nn.Module):
    """Another contrast and that of fields, added up: one weight and one temperature for both.

    Args:
        beside: makes the other one, such as :class:`~gclrec.contrast.two_views.TwoViews`.
        encoder: as both take it.
        graph: as both take it.
        temperature: of both.
        views: see :class:`FieldContrast`, as for the next three.
        p: share of values that is dropped.
        sides: whose fields.
        batch: of which nodes.
        generator: where the start of the other one is drawn from.
        settings: the other one's further arguments.
    """

    def __init__(
        self,
        beside: Callable[..., nn.Module],
        encoder: Encoder,
        graph: BipartiteGraph,
        *,
        temperature: Temperature = 0.2,
        views: str = "dropout",
        p: float = 0.1,
        sides: str = "items",
        batch: str = "catalogue",
        generator: Generator | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.beside = beside(encoder, graph, temperature=temperature, generator=generator, **settings)
        self.fields = FieldContrast(encoder, graph, views=views, p=p, sides=sides, batch=batch)

    @property
    def temperature(self) -> Temperature:
        """That of both; one that is learned is held once."""
        return cast("Temperature", self.beside.temperature)

    def forward(self, moment: Moment) -> Contrasted:
        """Return the embeddings of the other contrast and the sum of both losses."""
        main, loss = self.beside(moment)
        return Contrasted(main, loss + self.fields.loss(moment, current(self.temperature)))


def related_fields(table: FieldTable) -> Tensor:
    """Return the half of the fields that goes with each field, ``(F, F)`` bool, itself included.

    Row ``f`` names ``f`` and the ``F // 2`` others of highest mutual information with it, at most ``F - 1``
    in all.

    Args:
        table: at least two fields.
    """
    shared = mutual_information(table)
    count = len(shared)
    np.fill_diagonal(shared, np.inf)
    order = np.argsort(-shared, axis=1, kind="stable")[:, : min(1 + count // 2, count - 1)]
    related = np.zeros((count, count), dtype=np.bool_)
    np.put_along_axis(related, order, True, axis=1)
    return torch.from_numpy(related).to(table.missing.device)


def mutual_information(table: FieldTable) -> npt.NDArray[np.float64]:
    r"""Return what each field tells of each other, in nats, ``(F, F)``.

    .. math:: I(f, g) = \sum_{a, b} P(a, b) \log \frac{P(a, b)}{P(a) P(b)}, \qquad
        P(a, b) = \frac{1}{N} \sum_n w_{na} w_{nb}

    with the weight :math:`w_{na}` of value ``a`` in row ``n``: 1 for the only value, :math:`1/m` for one of
    ``m``. Missing is a value too. Numbers are cut into tenths of the rows, vectors by their leading principal
    component. Taken over at most 20,000 evenly spaced rows.

    Args:
        table: attributes of ``N`` nodes.
    """
    rows = np.unique(np.linspace(0, table.num_rows - 1, min(table.num_rows, _ROWS)).astype(np.int64))
    shares = [_shares(table, number)[rows] for number in range(len(table.fields))]
    found = np.zeros((len(shares), len(shares)))
    for f, first in enumerate(shares):
        for g, second in enumerate(shares[:f]):
            joint = (first.T @ second).tocoo()
            p = joint.data / len(rows)
            single = [np.asarray(part.sum(axis=0)).ravel() / len(rows) for part in (first, second)]
            found[f, g] = found[g, f] = np.sum(p * np.log(p / (single[0][joint.row] * single[1][joint.col])))
    return found


def _shares(table: FieldTable, number: int) -> sparse.csr_matrix:
    """Return the weight of each value of a field in each row, ``(N, V + 1)``; the last value is missing."""
    missing = table.missing[:, number].cpu().numpy()
    known = np.flatnonzero(~missing)
    absent = np.flatnonzero(missing)
    if table.fields[number].kind in ("number", "vector"):
        numbers = table.numbers(number).cpu().numpy()[known].astype(np.float64)
        values = numbers[:, 0]
        if numbers.shape[1] > 1:
            centred = numbers - numbers.mean(0)
            values = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
        cuts = np.unique(np.quantile(values, np.arange(1, _BINS) / _BINS)) if len(known) else np.empty(0)
        row, code, weight = known, np.searchsorted(cuts, values, side="right"), np.ones(len(known))
        width = _BINS
    else:
        every = torch.arange(table.num_rows, device=table.missing.device)
        ptr, codes, weights = (part.cpu().numpy() for part in table.bags(number, every))
        row = np.repeat(np.arange(table.num_rows), np.diff(ptr))
        code, weight, width = codes, weights.astype(np.float64), table.fields[number].width
    entries = np.concatenate([weight, np.ones(len(absent))])
    places = np.concatenate([row, absent]), np.concatenate([code, np.full(len(absent), width)])
    return sparse.csr_matrix((entries, places), shape=(table.num_rows, width + 1))
