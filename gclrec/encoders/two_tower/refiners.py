"""Refiners: layers in which the fields of a node change each other, before a tower joins them.

Every refiner is made as ``Refiner(num_fields, dim, *, init_std, generator)`` and maps ``(N, F, D)`` to
``(N, F, D)``. ``generator`` draws the start; the global one if ``None``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Generator, Tensor, nn


class SENet(nn.Module):
    r"""Weigh each field by all of them (squeeze and excitation over fields, FiBiNET, [1]).

    .. math:: z_f = \frac{1}{D} \sum_d e_{fd}, \qquad a = 2\,\sigma\big(W_2\, \mathrm{ReLU}(W_1 z)\big),
        \qquad v_f = a_f\, e_f

    ``W_1`` leads to a third of the fields (the paper's reduction ratio of 3), but at least 4 units, since a
    single one is silent for half of the nodes. The outer function is the sigmoid of squeeze and excitation
    itself ([2]), doubled so that weights start about 1: FiBiNET's outer ReLU can switch a field off for good.

    [1] Huang et al., RecSys 2019, https://arxiv.org/abs/1905.09433
    [2] Hu et al., CVPR 2018, https://arxiv.org/abs/1709.01507
    """

    def __init__(
        self,
        num_fields: int,
        dim: int,  # noqa: ARG002 - the signature of all
        *,
        init_std: float = 0.1,  # noqa: ARG002
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        few = max(math.ceil(num_fields / 3), 4)
        self.squeeze = linear_layer(num_fields, few, bias=False, generator=generator)
        self.excite = linear_layer(few, num_fields, bias=False, generator=generator)

    def forward(self, fields: Tensor) -> Tensor:
        """Return the fields, each times its weight."""
        weights = 2.0 * self.excite(self.squeeze(fields.mean(2)).relu()).sigmoid()
        return cast("Tensor", fields * weights[:, :, None])


def _layers_of_all(
    num_fields: int, dim: int, *, bias: bool, init_std: float, generator: Generator | None
) -> tuple[nn.Linear, nn.Linear, nn.LayerNorm]:
    """Return layers from all fields to ``D`` units and back, and a norm that starts small."""
    aggregate = linear_layer(num_fields * dim, dim, bias=bias, generator=generator)
    project = linear_layer(dim, num_fields * dim, generator=generator)
    norm = nn.LayerNorm(dim)
    nn.init.ones_(project.bias)
    nn.init.constant_(norm.weight, init_std)
    return aggregate, project, norm


def _from_all(fields: Tensor, aggregate: nn.Module, project: nn.Module) -> Tensor:
    """Return a vector for each field made from all fields, ``(N, F, D)``."""
    return cast("Tensor", project(aggregate(fields.flatten(1)).relu()).view_as(fields))


class MaskNet(nn.Module):
    r"""Multiply normalised fields by a mask made from all of them (instance-guided mask, MaskNet, [1]).

    .. math:: v = \big(W_2\, \mathrm{ReLU}(W_1 e + b_1) + b_2\big) \odot
        [\mathrm{LN}(e_1), \dots, \mathrm{LN}(e_F)]

    for ``e`` the concatenated fields. The hidden layer of a mask block, which follows in the paper, is the
    tower's. ``W_1`` leads to ``D`` units (more in the paper); :math:`b_2` starts at 1 and the scale of the
    norm at ``init_std``, so that the fields keep about their length at the start.

    [1] Wang et al., DLP-KDD 2021, https://arxiv.org/abs/2102.07619
    """

    def __init__(
        self, num_fields: int, dim: int, *, init_std: float = 0.1, generator: Generator | None = None
    ) -> None:
        super().__init__()
        self.aggregate, self.project, self.norm = _layers_of_all(
            num_fields, dim, bias=True, init_std=init_std, generator=generator
        )

    def forward(self, fields: Tensor) -> Tensor:
        """Return the fields, normalised and masked."""
        return cast("Tensor", _from_all(fields, self.aggregate, self.project) * self.norm(fields))


class ContextNet(nn.Module):
    r"""Merge each field with a vector that all fields make for it (one block of ContextNet, [1]).

    .. math:: c_f = P_f\, \mathrm{ReLU}(A e) + p_f, \qquad h_f = e_f \odot c_f, \qquad
        v_f = \mathrm{LN}\big(W_2\, \mathrm{ReLU}(W_1 h_f) + h_f\big)

    for ``e`` the concatenated fields: contextual embedding, merging by product, and the paper's point-wise
    feed-forward, whose ``W_1``, ``W_2`` all fields share. ``A`` leads to ``D`` units and is shared too;
    :math:`p_f` starts at 1 and the scale of the norm at ``init_std``.

    [1] Wang, She, Zhang, 2021, https://arxiv.org/abs/2107.12025
    """

    def __init__(
        self, num_fields: int, dim: int, *, init_std: float = 0.1, generator: Generator | None = None
    ) -> None:
        super().__init__()
        self.aggregate, self.project, self.norm = _layers_of_all(
            num_fields, dim, bias=False, init_std=init_std, generator=generator
        )
        self.inner = linear_layer(dim, dim, bias=False, generator=generator)
        self.outer = linear_layer(dim, dim, bias=False, generator=generator)

    def forward(self, fields: Tensor) -> Tensor:
        """Return the fields in their context."""
        merged = fields * _from_all(fields, self.aggregate, self.project)
        return cast("Tensor", self.norm(self.outer(self.inner(merged).relu()) + merged))


def linear_layer(
    inputs: int, outputs: int, *, bias: bool = True, generator: Generator | None = None
) -> nn.Linear:
    """Return a linear layer whose output starts as long as its input, drawn from ``generator`` alone.

    The weights are normal of standard deviation ``inputs ** -0.5``; the bias, if there is one, is zero.
    """
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)
    with torch.no_grad():
        layer.weight.normal_(0.0, 1.0 / math.sqrt(inputs), generator=generator)
        if bias:
            layer.bias.zero_()
    return cast("nn.Linear", layer)


REFINERS: Mapping[str, Callable[..., nn.Module]] = {
    "none": nn.Identity,
    "senet": SENet,
    "masknet": MaskNet,
    "contextnet": ContextNet,
}
"""What a tower does to its fields before it joins them."""
