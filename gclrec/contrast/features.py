"""Contrast of fields: two views of the attributes of a node, encoded without its id."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Generator, Tensor, nn

from gclrec.common.declaration import Setting, Span
from gclrec.common.errors import SettingError, check_choice
from gclrec.contrast.base import TEMPERATURE, Contrasted, TrainingStep
from gclrec.encoders import Embeddings, Encoder, EncodesContent, FieldBatch, FieldTable
from gclrec.encoders.content.fields import SEVERAL
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.sampling import bernoulli, distinct
from gclrec.losses.info_nce import info_nce
from gclrec.losses.temperature import Temperature, current

SSL_SIDES: Mapping[str, tuple[str, ...]] = {"items": ("item",), "users": ("user",), "both": ("user", "item")}
"""The sides whose fields are contrasted."""

_BINS = 10  # equal shares of rows that numbers are cut into for mutual information
_ROWS = 20_000  # the most rows, evenly spaced, that mutual information is estimated from


def _dropped(batch: FieldBatch, related: Tensor, p: float, generator: Generator | None) -> list[FieldBatch]:
    """Drop values of fields that can have several, and whole fields of the other kinds, with ``p`` (FD)."""
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
    """Hide a random half of the fields, and the other half (RFM)."""
    del related
    count, device = len(batch.fields), batch.missing.device
    order = torch.randperm(count, generator=generator, device=device)
    hidden = torch.zeros(count, dtype=torch.bool, device=device).index_fill(0, order[: count // 2], True)
    return _halves(batch, hidden, p, generator)


def _correlated(
    batch: FieldBatch, related: Tensor, p: float, generator: Generator | None
) -> list[FieldBatch]:
    """Hide a random field with the fields of highest mutual information, and all others (CFM)."""
    seed = torch.randint(len(related), (1,), generator=generator, device=related.device)
    return _halves(batch, related.index_select(0, seed)[0], p, generator)


def _named(batch: FieldBatch, related: Tensor, p: float, generator: Generator | None) -> list[FieldBatch]:
    """Hide all fields but those of one list, and all but those of another; ``related`` holds both masks."""
    return [batch.drop_values(p, generator=generator).hide(mask) for mask in related]


def _halves(batch: FieldBatch, hidden: Tensor, p: float, generator: Generator | None) -> list[FieldBatch]:
    return [batch.drop_values(p, generator=generator).hide(mask) for mask in (hidden, ~hidden)]


FeatureView: TypeAlias = "Callable[[FieldBatch, Tensor, float, Generator | None], list[FieldBatch]]"
"""Makes two views of a batch, given related fields ``(F, F)`` and the share of values to drop."""

FEATURE_VIEWS: Mapping[str, FeatureView] = {
    "dropout": _dropped,
    "random": _random,
    "correlated": _correlated,
}
"""How two views of a node's fields are made."""

_FEATURE_VIEWS = Setting(
    "feature_views",
    f"How features sees fields twice: {', '.join(FEATURE_VIEWS)}, or the fields of each view by name, as "
    "title,brand|price,category.",
)
_FEATURE_DROP = Setting(
    "feature_drop",
    "Share of values (and, for dropout, of fields with one value) that views of features drop.",
    low=0,
    high=0.99,
    search=Span(0.05, 0.7),
)
_SSL_SIDES = Setting("ssl_sides", "Whose fields features contrasts: items, users or both.", choices=SSL_SIDES)


def parse_feature_views(text: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return the names of the fields of each view of a text ``A,B|C``; ``None`` for a way to draw them.

    Raises:
        SettingError: it is neither, a view has no field, or a name occurs twice; the argument is ``views``.
    """
    if "|" not in text:
        check_choice("views", text, FEATURE_VIEWS)
        return None
    first, *others = (tuple(name.strip() for name in part.split(",")) for part in text.split("|"))
    names = [*first, *(name for part in others for name in part)]
    if len(others) != 1 or "" in names or len(set(names)) < len(names):
        raise SettingError(
            "views", f"expected fields of two views as title,brand|price, each once, got {text!r}"
        )
    return first, others[0]


def check_features(*, views: str, p: float, **others: object) -> None:
    """Refuse views of fields that are not known or cannot differ."""
    del others
    parse_feature_views(views)
    if views == "dropout" and p == 0:
        raise SettingError("p", "with 0 the two views of dropout are the same")


class FieldContrast(nn.Module):
    r"""Contrast two views of a node's fields, beside any ranking loss (Yao et al., [1]).

    .. math:: -\frac{1}{B} \sum_k \log
        \frac{e^{\cos(g(a_k), g(b_k)) / \tau}}{\sum_j e^{\cos(g(a_k), g(b_j)) / \tau}}

    with ``a``, ``b`` the two views of the fields of ``B`` nodes and ``g`` the encoder's layer 0 made of
    fields alone, as a cold node has it. The two views are, by ``views``,

    - ``dropout`` (FD): each value of a field that can have several is dropped with probability ``p``, each
      field of another kind is hidden with probability ``p``; twice, independently;
    - ``random`` (RFM): half of the fields, drawn anew for each batch, and the other half;
    - lists of names, ``A,B|C``: the fields of the first list, and those of the second, chosen by hand;
    - ``correlated`` (CFM): a field drawn anew for each batch and the half of all others (rounded down) that
      have the highest mutual information with it are hidden in the first view, all others in the second.

    The halves are the same for all nodes of a batch, otherwise the missing fields would identify the pair.
    Values are then dropped from them too, as in the paper. At least one field is left in each view. A node
    with nothing left in one view is left out of that batch. As many nodes as the batch has pairs are drawn
    uniformly from all that have attributes, cold ones included; the paper found that better than the nodes of
    the batch, which are popular ones.

    Args:
        encoder: one that encodes attributes.
        temperature: of InfoNCE.
        views: a name in :data:`FEATURE_VIEWS`, or names of fields, see :func:`parse_feature_views`.
        p: share of values that is dropped.
        sides: a name in :data:`SSL_SIDES`; the losses of two sides are added.

    Raises:
        SettingError: a name is not known, the encoder has no attributes of a side, or a side has too few
            fields to divide.

    [1] Yao et al., CIKM 2021, https://arxiv.org/abs/2007.12865
    """

    def __init__(
        self,
        encoder: Encoder,
        graph: BipartiteGraph,  # noqa: ARG002 - the signature of all
        *,
        temperature: Annotated[Temperature, TEMPERATURE] = 0.2,
        views: Annotated[str, _FEATURE_VIEWS] = "dropout",
        p: Annotated[float, _FEATURE_DROP] = 0.1,
        sides: Annotated[str, _SSL_SIDES] = "items",
        generator: Generator | None = None,  # noqa: ARG002
    ) -> None:
        super().__init__()
        named = parse_feature_views(views)
        check_choice("sides", sides, SSL_SIDES)
        self.temperature, self.views, self.p = temperature, views, p
        self.sides = SSL_SIDES[sides]
        for side in self.sides:
            table = encoder.field_table(side) if isinstance(encoder, EncodesContent) else None
            if table is None:
                raise SettingError("sides", f"the encoder has no attributes of {side}s to contrast")
            if views != "dropout" and len(table.fields) < 2:
                only = f"{side}s have one field ({table.fields[0].name}), which cannot be divided"
                raise SettingError("views", f"{only} for {views}; take dropout")
            related = related_fields(table) if views == "correlated" else torch.empty(0)
            if named is not None:
                related = _masks_of(named, table, side)
            self.register_buffer(f"related_{side}", related, persistent=False)
            known_rows = (~table.missing).any(1).nonzero()[:, 0]
            self.register_buffer(f"known_{side}", known_rows, persistent=False)

    def forward(self, step: TrainingStep) -> Contrasted:
        """Return the embeddings of the graph itself and InfoNCE between views of fields."""
        return self.beside(step, step.encode())

    def beside(self, step: TrainingStep, main: Embeddings) -> Contrasted:
        """Return the loss, and embeddings to rank by as they are."""
        return Contrasted(main, self.loss(step, current(self.temperature)))

    def loss(self, step: TrainingStep, temperature: float | Tensor) -> Tensor:
        """Return InfoNCE between two views of fields, summed over sides."""
        return torch.stack([self._loss(side, step, temperature) for side in self.sides]).sum()

    def _loss(self, side: str, step: TrainingStep, temperature: float | Tensor) -> Tensor:
        encoder: object = step.encoder
        assert isinstance(encoder, EncodesContent)
        table = encoder.field_table(side)
        assert table is not None
        batch = table.batch(self._rows(side, step))
        related = cast("Tensor", getattr(self, f"related_{side}"))
        first, second = FEATURE_VIEWS.get(self.views, _named)(batch, related, self.p, step.generator)
        left = ((~first.missing).any(1) & (~second.missing).any(1)).nonzero()[:, 0]
        anchor, positive = (
            encoder.encode_content(side, view).index_select(0, left) for view in (first, second)
        )
        if len(left) == 0:
            return anchor.sum()
        return info_nce(anchor, positive, temperature)

    def _rows(self, side: str, step: TrainingStep) -> Tensor:
        """Return distinct nodes with attributes, drawn uniformly."""
        known = cast("Tensor", getattr(self, f"known_{side}"))
        count = min(len(step.users), len(known))
        drawn = distinct(count, len(known), generator=step.generator, device=known.device)
        return known.index_select(0, drawn)


def _masks_of(named: tuple[tuple[str, ...], tuple[str, ...]], table: FieldTable, side: str) -> Tensor:
    """Return which fields each of two views hides, ``(2, F)`` bool."""
    able = [known.name for known in table.fields]
    for name in (*named[0], *named[1]):
        if name not in able:
            raise SettingError("views", f"{name!r} is not one of the fields of {side}s: {', '.join(able)}")
    masks = [[name not in part for name in able] for part in named]
    return torch.tensor(masks, device=table.missing.device)


def related_fields(table: FieldTable) -> Tensor:
    """Return the related half of the fields for each field, ``(F, F)`` bool, itself included.

    Row ``f`` marks ``f`` and the ``F // 2`` others of highest mutual information with it, at most ``F - 1``
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
    r"""Return the mutual information of each two fields, in nats, ``(F, F)``.

    .. math:: I(f, g) = \sum_{a, b} P(a, b) \log \frac{P(a, b)}{P(a) P(b)}, \qquad
        P(a, b) = \frac{1}{N} \sum_n w_{na} w_{nb}

    with the weight :math:`w_{na}` of value ``a`` in row ``n``: 1 for the only value, :math:`1/m` for one of
    ``m``. Missing counts as a value. Numbers are cut into tenths of the rows, and so are vectors, by their
    leading principal component. At most 20,000 evenly spaced rows are used.

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
