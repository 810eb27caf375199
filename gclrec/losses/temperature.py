"""Temperatures of softmax losses: a number, a learned one, or one for each user (Adap-tau)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias, cast

import torch
from torch import Tensor, nn

from gclrec.common.devices import on_cpu
from gclrec.common.errors import InputError
from gclrec.encoders import Encoder
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.graph.functional import unit

LOWEST, HIGHEST = 0.01, 10.0
"""Bounds of a temperature that is not a fixed number; 0.01 is CLIP's."""


class Learned(nn.Module):
    r"""One temperature for all rows, trained with the model (CLIP, [1]).

    .. math:: \tau = e^\theta, \quad 0.01 \le \tau \le 10

    The parameter is the logarithm, so that a step changes the temperature by a factor. It is clamped to its
    bounds after each step; clamping in the forward pass would leave it without gradient there.

    Args:
        start: the temperature of the first step.

    Raises:
        ValueError: ``start`` is not a positive number.

    [1] Radford et al., ICML 2021, https://arxiv.org/abs/2103.00020
    """

    def __init__(self, start: float) -> None:
        super().__init__()
        self.log = nn.Parameter(torch.tensor(math.log(_bounded(start))))

    def forward(self, rows: Tensor | None = None) -> Tensor:  # noqa: ARG002 - the signature of all
        """Return the temperature, a scalar."""
        return self.log.exp()

    @torch.no_grad()
    def after_step(self, encoder: object = None) -> None:  # noqa: ARG002 - the signature of all
        """Clamp the temperature to its bounds."""
        self.log.clamp_(math.log(LOWEST), math.log(HIGHEST))

    @torch.no_grad()
    def figures(self) -> dict[str, float]:
        """Return the figures to log."""
        return {"": float(self.log.exp())}


class Adaptive(nn.Module):
    r"""A temperature for each user, recomputed at each epoch without gradient (Adap-tau, [1]).

    First one for all users: the temperature at which interactions stand out from other pairs as much as the
    density of the data implies,

    .. math:: \tau_0 = \frac{\overline{\cos}(u, i \in N(u)) - \overline{\cos}(u, i)}
        {\log \big( U I / (2 E) \big)}

    where the first mean is over the interactions and the second over all pairs, both of users above the 20 %
    quantile of interactions; ``U`` and ``E`` count these only. Then one for each user, by SuperLoss ([2]):

    .. math:: \tau_u = \tau_0 \exp \Big( W \big( \max(-1/e, (L_u - \bar L) / \beta) \big) \Big)

    with Lambert's ``W`` and the mean :math:`L_u`, over the last epoch, of
    :math:`\log \sum_j w_j e^{\cos(u, j)} - \cos(u, i)`, the loss at temperature 1. So a user whose items are
    hard to tell from others, such as one with noisy interactions, has a higher temperature, and its gradient
    is spread over more negatives. The first epoch has one temperature for all.

    The statistics are those of the published code, which uses :math:`\tau_u` for the negatives and
    :math:`\tau_0` for the positive, and warms up for up to 100 epochs; here a row has one temperature and the
    warm-up is one epoch.

    Args:
        graph: the training interactions; fewer than half of all pairs.
        start: the temperature of the first epoch; ``None``: :math:`\tau_0` for a difference of 0.7 between
            the means, as in the published code.
        beta: larger values bring all temperatures closer to :math:`\tau_0`; published settings are 0.25 to
            1.5, mostly 1.

    Shapes:
        - **rows:** ``(B,)`` user numbers
        - **output:** ``(B,)``

    Raises:
        ValueError: half of all pairs or more are interactions, or ``start`` is not a positive number.

    [1] Chen et al., WWW 2023, https://arxiv.org/abs/2302.04775
    [2] Castells et al., NeurIPS 2020,
    https://proceedings.neurips.cc/paper/2020/hash/2cfa8f9e50e0f510ede9d12338a5f564-Abstract.html
    """

    temperature: Tensor
    sums: Tensor
    times: Tensor

    def __init__(self, graph: BipartiteGraph, start: float | None = None, *, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta
        degree = graph.user_degrees
        frequent = degree > torch.quantile(degree.double(), 0.2)
        self._frequent = frequent if bool(frequent.any()) else degree > 0
        pairs = int(degree[self._frequent].sum())
        odds = int(self._frequent.sum()) * graph.num_items / (2 * max(pairs, 1))
        if odds <= 1:
            raise ValueError(
                "an adaptive temperature needs data where fewer than half of all pairs are interactions"
            )
        self._log_odds = math.log(odds)
        first = _bounded(0.7 / self._log_odds if start is None else start)
        count, device = graph.num_users, graph.device
        self.register_buffer("temperature", torch.full((count,), first, device=device))
        self.register_buffer("sums", torch.zeros(count, dtype=torch.float64, device=device))
        self.register_buffer("times", torch.zeros(count, dtype=torch.int64, device=device))

    def forward(self, rows: Tensor) -> Tensor:
        """Return the temperatures of some users, ``(B,)``."""
        return self.temperature.index_select(0, rows)

    @torch.no_grad()
    def observe(self, rows: Tensor, losses: Tensor) -> None:
        """Add the losses at temperature 1, ``(B,)``, to those of this epoch; infinite ones are left out."""
        counts = losses.isfinite()
        self.sums.index_add_(0, rows, losses.double().masked_fill(~counts, 0.0))
        self.times.index_add_(0, rows, counts.long())

    @torch.no_grad()
    def begin_epoch(self, epoch: int, encoder: Encoder, graph: BipartiteGraph) -> None:  # noqa: ARG002
        """Compute the temperatures from the current embeddings and the losses of the last epoch."""
        seen = self.times > 0
        if not bool(seen.any()):
            return  # the first epoch
        users, items = (unit(rows) for rows in encoder(graph))
        mean = self.sums / self.times.clamp(min=1)
        middle = mean[seen].mean()
        hardness = torch.where(seen, (mean - middle) / self.beta, 0.0).clamp_(min=-1 / math.e)
        tau = (self._overall(graph, users, items) * lambert_w(hardness).exp()).clamp(LOWEST, HIGHEST)
        self.temperature.copy_(tau)
        self.sums.zero_()
        self.times.zero_()

    def _overall(self, graph: BipartiteGraph, users: Tensor, items: Tensor) -> Tensor:
        """Return the temperature of all users together, a scalar."""
        user, item = graph.edge_index[:, self._frequent[graph.edge_index[0]]]
        close = torch.zeros((), dtype=torch.float64, device=users.device)
        for some, other in zip(user.split(_BLOCK), item.split(_BLOCK), strict=True):
            close += (users.index_select(0, some) * items.index_select(0, other)).sum(dtype=torch.float64)
        everywhere = users[self._frequent].mean(0, dtype=torch.float64) @ items.mean(0, dtype=torch.float64)
        return ((close / len(user) - everywhere) / self._log_odds).clamp_(LOWEST, HIGHEST)

    def figures(self) -> dict[str, float]:
        """Return the figures to log."""
        low, high = self.temperature.aminmax()
        return {"": float(self.temperature.mean()), "/lowest": float(low), "/highest": float(high)}


_BLOCK = 2**20
"""Interactions whose cosine is computed at a time."""

Temperature: TypeAlias = float | Learned | Adaptive

TEMPERATURES: Mapping[str, type[nn.Module]] = {"learned": Learned, "adaptive": Adaptive}
"""Temperatures that are modules, written as ``NAME`` or ``NAME:START``."""


def parse_temperature(value: float | str) -> tuple[str | None, float | None]:
    """Return the name and the start of a temperature; ``(None, number)`` for a number.

    Args:
        value: a number, ``NAME`` or ``NAME:START`` with a name in :data:`TEMPERATURES`.

    Raises:
        InputError: it is none of these, or a number is out of range; the message does not name the setting.

    Example:
        >>> parse_temperature(0.2), parse_temperature("learned:0.1"), parse_temperature("adaptive")
        ((None, 0.2), ('learned', 0.1), ('adaptive', None))
    """
    name, colon, rest = value.partition(":") if isinstance(value, str) else ("", "", value)
    try:
        number = None if isinstance(value, str) and not colon else float(rest)
    except ValueError:
        number = math.nan
    if isinstance(value, str):
        if name not in TEMPERATURES:
            forms = ", ".join(f"{known}[:START]" for known in TEMPERATURES)
            raise InputError(f"{value!r} is not a number or one of {forms}")
        if number is not None and not LOWEST <= number <= HIGHEST:
            raise InputError(f"the start of {value!r} must be a number in [{LOWEST:g}, {HIGHEST:g}]")
        return name, number
    if number is None or not 0.0 < number < math.inf:
        raise InputError(f"must be above 0, got {value!r}")
    return None, number


def make_temperature(value: float | str, graph: BipartiteGraph, *, start: float) -> Temperature:
    """Return a temperature as a number or a module.

    Args:
        value: as :func:`parse_temperature` takes it.
        graph: the training interactions.
        start: of ``learned``, if the value names none.
    """
    name, number = parse_temperature(value)
    if name == "learned":
        return Learned(start if number is None else number).to(graph.device)
    if name == "adaptive":
        return Adaptive(graph, number)
    return cast("float", number)


def current(temperature: Temperature, rows: Tensor | None = None) -> float | Tensor:
    """Return the temperature of this step: a number, a scalar with gradient, or one for each row ``(B,)``."""
    return temperature if isinstance(temperature, (int, float)) else temperature(rows)


def over(rows: Tensor, temperature: float | Tensor) -> Tensor:
    """Return rows ``(B, D)`` divided by the temperature: a number, a scalar, or one for each row ``(B,)``.

    Raises:
        ValueError: the temperature is not positive, or a tensor has another shape. The values of a tensor on
            a GPU are not checked, which would wait for the device.
    """
    if isinstance(temperature, Tensor):
        if temperature.dim() and temperature.shape != rows.shape[:1]:
            shape = tuple(temperature.shape)
            raise ValueError(f"temperature must be a scalar or ({len(rows)},), one for each row; got {shape}")
        if (
            on_cpu(temperature.device)
            and not torch.compiler.is_compiling()
            and not bool((temperature > 0.0).all())
        ):
            raise ValueError(f"temperature must be positive, got {float(temperature.min())}")
        return rows / (temperature.unsqueeze(1) if temperature.dim() else temperature)
    if not temperature > 0.0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    return rows / temperature


def lambert_w(x: Tensor) -> Tensor:
    r"""Return Lambert's ``W``, principal branch: :math:`W e^W = x`, in float64.

    Args:
        x: any shape; what lies below ``-1/e`` counts as ``-1/e``.
    """
    from scipy.special import lambertw

    values = x.double().clamp(min=-1 / math.e + 1e-15)  # SciPy has no number for the branch point itself
    return torch.as_tensor(lambertw(values.cpu().numpy()).real.copy(), device=x.device)


def _bounded(value: float) -> float:
    if not 0.0 < value < math.inf:
        raise ValueError(f"a temperature must be a positive number, got {value}")
    return min(max(value, LOWEST), HIGHEST)
