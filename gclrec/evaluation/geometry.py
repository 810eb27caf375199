r"""Figures about an embedding space: alignment of positives, uniformity, effective rank, collapse.

With unit vectors :math:`\hat x = x / |x|`, alignment and uniformity ([1]) are

.. math::
    \text{alignment} = \frac{1}{|P|} \sum_{(u, i) \in P} |\hat x_u - \hat x_i|^2, \qquad
    \text{uniformity} = \log \frac{1}{N (N - 1)} \sum_{a \ne b} e^{-2 |\hat x_a - \hat x_b|^2}

Alignment lies in ``[0, 4]``: 0 when every positive pair points the same way. Uniformity lies in ``[-8, 0]``:
0 when all vectors point the same way, about -4 when they are spread evenly over a sphere of many dimensions.
Vectors are ``(N, D)``.

[1] Wang, Isola, ICML 2020, https://arxiv.org/abs/2005.10242
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor
from torch.nn import functional

from gclrec.evaluation.groups import popularity_thirds
from gclrec.evaluation.ranking import Vectors, as_vectors

_ROWS = 2048
"""Rows whose pairs are compared for the uniformity; as many are drawn from more."""

_PAIRS = 65536
"""Positive pairs that are compared for the alignment; as many are drawn from more."""

_FLAT = 0.01
"""A dimension has collapsed if its spread is below this share of the largest spread."""

_NO_SPREAD = 1e-6
"""All dimensions have collapsed if the largest spread is below this share of the vectors' length."""

_MIN_RANK, _MAX_COSINE = 1.5, 0.95


def geometry(
    user_vectors: Vectors,
    item_vectors: Vectors,
    pairs: tuple[npt.ArrayLike, npt.ArrayLike],
    item_degrees: npt.ArrayLike,
    *,
    seed: int = 0,
) -> dict[str, float]:
    """Return figures that describe an embedding space, by name.

    ==============================  =================================================================
    ``alignment``                   of the positive pairs; of more than 65,536 a random part
    ``SIDE/uniformity``             of the distinct pairs; of more than 2,048 rows a random part
    ``SIDE/effective_rank``         see :func:`effective_rank`
    ``SIDE/collapsed_dimensions``   see :func:`collapsed_dimensions`
    ``SIDE/mean_cosine``            see :func:`mean_cosine`
    ``items/norm_PART``             mean length of the ``head``, ``mid`` and ``tail`` items
    ==============================  =================================================================

    ``SIDE`` is ``users`` or ``items``. Vectors of length zero have no direction and do not count in figures
    about directions. A figure without any case has no entry.

    Args:
        user_vectors: ``(U, D)``, on any device.
        item_vectors: ``(I, D)``, on any device.
        pairs: positive pairs as ``(E,)`` user rows and ``(E,)`` item rows.
        item_degrees: ``(I,)`` training interactions of each item.
        seed: of the random parts.

    Raises:
        InputError: a vector is not finite or an array has the wrong shape.
    """
    users, items = as_vectors(user_vectors, "user_vectors"), as_vectors(item_vectors, "item_vectors")
    generator = Generator().manual_seed(seed)
    user, item = (np.asarray(part) for part in pairs)
    drawn = _drawn(len(user), _PAIRS, generator).numpy()
    user, item = user[drawn].astype(np.int64), item[drawn].astype(np.int64)
    values = {
        "alignment": alignment(
            users[torch.from_numpy(user).to(users.device)], items[torch.from_numpy(item).to(items.device)]
        )
    }
    for side, vectors in (("users", users), ("items", items)):
        rows = _drawn(len(vectors), _ROWS, generator).to(vectors.device)
        values[f"{side}/uniformity"] = uniformity(vectors[rows])
        values[f"{side}/effective_rank"] = effective_rank(vectors)
        values[f"{side}/collapsed_dimensions"] = collapsed_dimensions(vectors)
        values[f"{side}/mean_cosine"] = mean_cosine(vectors)
    part = popularity_thirds(np.asarray(item_degrees, dtype=np.int64))
    lengths = items.norm(dim=1).cpu().numpy()
    for number, name in enumerate(("head", "mid", "tail")):
        members = lengths[part == number]
        values[f"items/norm_{name}"] = float(members.mean(dtype=np.float64)) if len(members) else math.nan
    return {name: value for name, value in values.items() if math.isfinite(value)}


def alignment(users: Tensor, items: Tensor) -> float:
    r"""Return the mean squared distance of positive pairs on the unit sphere, ``nan`` without pairs.

    .. math:: \frac{1}{B} \sum_k |\hat x_k - \hat y_k|^2 = \frac{1}{B} \sum_k (2 - 2 \cos(x_k, y_k))

    Row ``k`` of ``items (B, D)`` is the positive of row ``k`` of ``users (B, D)``.
    """
    directed = (users != 0).any(1) & (items != 0).any(1)
    first, second = (functional.normalize(x[directed], dim=1, eps=0.0) for x in (users, items))
    return float((first - second).square().sum(1).mean(dtype=torch.float64))


def uniformity(vectors: Tensor) -> float:
    r"""Return how evenly unit vectors are spread; 0 when they are all equal, ``nan`` for fewer than two.

    .. math:: \log \frac{1}{N (N - 1)} \sum_{a \ne b} e^{-2 |\hat x_a - \hat x_b|^2}

    ``N * N`` numbers are held, so draw from many.
    """
    unit = _unit(vectors)
    count = len(unit)
    if count < 2:
        return math.nan
    kernel = (unit @ unit.T).clamp(-1.0, 1.0).sub_(1.0).mul_(4.0).exp_().fill_diagonal_(0.0)
    return math.log(float(kernel.sum(dtype=torch.float64)) / (count * (count - 1)))


def effective_rank(vectors: Tensor) -> float:
    r"""Return the number of directions that vectors use: ``exp`` of the entropy of the spectrum ([2]).

    .. math:: \exp\left(-\sum_k p_k \log p_k\right), \qquad p_k = \sigma_k / \sum_j \sigma_j

    with the singular values :math:`\sigma` of the uncentred matrix (from its Gram matrix in float64).
    It lies in ``[1, D]``; ``nan`` if all vectors are zero.

    [2] Roy, Vetterli, EUSIPCO 2007, https://ieeexplore.ieee.org/document/7098875
    """
    x = vectors.double()
    spectrum = torch.linalg.eigvalsh(x.T @ x).clamp_min(0.0).sqrt()
    total = spectrum.sum()
    if not len(vectors) or float(total) == 0.0:
        return math.nan
    return float(torch.special.entr(spectrum / total).sum().exp())


def collapsed_dimensions(vectors: Tensor) -> float:
    """Return the share of dimensions whose standard deviation is below 1 % of the largest one.

    It is 1 if all vectors are equal; ``nan`` without vectors.
    """
    if not len(vectors):
        return math.nan
    x = vectors.double()
    spread = x.std(0, correction=0)
    length = x.square().mean().sqrt()
    flat = (spread < _FLAT * spread.max()) | (spread <= _NO_SPREAD * length)
    return float(flat.double().mean())


def mean_cosine(vectors: Tensor) -> float:
    r"""Return the mean cosine of all distinct pairs, exact in ``O(N D)``; ``nan`` for fewer than two vectors.

    .. math:: \frac{\left|\sum_a \hat x_a\right|^2 - N}{N (N - 1)}
    """
    unit = _unit(vectors)
    count = len(unit)
    if count < 2:
        return math.nan
    total = unit.sum(0, dtype=torch.float64)
    return (float(total @ total) - count) / (count * (count - 1))


def score_deviations(users: Tensor, items: Tensor) -> Tensor:
    """Return the standard deviation of each user's scores over some items, ``(U,)`` float64."""
    users, items = users.double(), items.double()
    spread = torch.cov(items.T, correction=0).reshape(items.shape[1], items.shape[1])
    deviations: Tensor = ((users @ spread) * users).sum(1).clamp_min(0).sqrt()
    return deviations


def collapse(figures: Mapping[str, float], dim: int) -> str | None:
    """Return a sentence that says what has collapsed, or ``None`` if nothing has.

    The vectors of a side have collapsed if their mean cosine is above 0.95 (all point the same way) or their
    effective rank is below 1.5 (all lie on one line; for fewer than 3 dimensions the bound is ``dim / 2``).
    Two opposite tastes that explain the data have an effective rank near 2, which is no collapse.

    Args:
        figures: what :func:`geometry` returned.
        dim: length of an embedding.
    """
    found = []
    for side in ("users", "items"):
        rank, cosine = figures.get(f"{side}/effective_rank"), figures.get(f"{side}/mean_cosine")
        signs = []
        if rank is not None and rank < min(_MIN_RANK, dim / 2):
            signs.append(f"they use {rank:.1f} of {dim} dimensions")
        if dim > 1 and cosine is not None and cosine > _MAX_COSINE:
            signs.append(f"two of them have cosine {cosine:.2f} on average")
        if signs:
            found.append(f"the vectors of {side} have collapsed: {' and '.join(signs)}")
    return "; ".join(found) or None


def _unit(vectors: Tensor) -> Tensor:
    """Return the vectors at length 1, without those of length zero."""
    return functional.normalize(vectors[(vectors != 0).any(1)], dim=1, eps=0.0)


def _drawn(count: int, limit: int, generator: Generator) -> Tensor:
    """Return all row numbers, or ``limit`` random ones if there are more."""
    return torch.arange(count) if count <= limit else torch.randperm(count, generator=generator)[:limit]
