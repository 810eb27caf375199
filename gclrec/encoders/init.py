"""Initialisation: an encoder's free vectors before the first step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping

import torch
from torch import Generator

from gclrec.common.declaration import Component
from gclrec.common.errors import InputWarning
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph


def normal(encoder: Encoder, graph: BipartiteGraph, generator: Generator) -> None:
    """Keep the normal start of the encoder, with standard deviation ``init_std``."""
    del encoder, graph, generator


def xavier(encoder: Encoder, graph: BipartiteGraph, generator: Generator) -> None:
    r"""Draw from a normal distribution of standard deviation :math:`\sqrt{2 / (N + D)}` (Glorot, [1]).

    ``N`` is the number of rows of a table, so the vectors are short: about 0.08 on gowalla where ``D`` is 64.
    SGL, SimGCL and their relatives start so.

    [1] Glorot, Bengio, AISTATS 2010, https://proceedings.mlr.press/v9/glorot10a.html
    """
    del graph
    for rows in encoder.layer_zero:
        if not isinstance(rows, torch.nn.Parameter):
            continue  # users without vectors
        std = math.sqrt(2.0 / (rows.shape[0] + rows.shape[1]))
        with torch.no_grad():
            rows.copy_(torch.empty(rows.shape).normal_(0.0, std, generator=generator))


def spectral(encoder: Encoder, graph: BipartiteGraph, generator: Generator) -> None:
    r"""Take the leading singular directions of the graph, each row scaled by its node's degree.

    .. math:: x_u = d_u^{1/4} \, \hat U_u, \qquad x_i = d_i^{1/4} \, \hat V_i

    from the truncated SVD :math:`D_U^{-1/2} R D_I^{-1/2} \approx U S V^\top` of rank ``D``, where the hat
    denotes rows of unit length. Users and items that share neighbourhoods start close to each other, which
    saves epochs. A node without interactions keeps its normal start, and so do dimensions beyond the number
    of users or of items, for which there are no directions.
    """
    del generator
    users, items = encoder.layer_zero
    dim, most = users.shape[1], min(graph.num_users, graph.num_items)
    if dim > most:
        warnings.warn(
            f"spectral start: there are {most} directions, as many as users or items, for {dim} dimensions; "
            "the others keep their normal start",
            InputWarning,
            stacklevel=2,
        )
    low_rank = graph.low_rank(min(dim, most))
    vectors = (low_rank.user_vectors, low_rank.item_vectors)
    for rows, found, degree in zip((users, items), vectors, graph.degrees(), strict=True):
        if not isinstance(rows, torch.nn.Parameter):
            continue
        scaled = torch.nn.functional.normalize(found.to(rows), dim=1) * degree.to(rows).pow(0.25).unsqueeze(1)
        with torch.no_grad():
            led = rows[:, : scaled.shape[1]]
            led.copy_(torch.where((degree > 0).unsqueeze(1), scaled, led))


STARTS: Mapping[str, Component[..., None]] = {
    "normal": Component(normal, "normal, with standard deviation init_std"),
    "xavier": Component(xavier, "normal, short"),
    "spectral": Component(spectral, "singular directions of the graph"),
}
"""Functions that change an encoder's layer-0 rows, given the training graph and a generator on the CPU."""
