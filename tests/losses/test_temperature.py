"""Temperatures: numbers, learned, one for each user; and the losses under each, beside loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gclrec.common.errors import InputError
from gclrec.encoders import MF
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.losses.info_nce import info_nce
from gclrec.losses.ranking_losses import bilateral_softmax, difficulty, sampled_softmax
from gclrec.losses.temperature import (
    TEMPERATURES,
    Adaptive,
    Learned,
    current,
    lambert_w,
    make_temperature,
    over,
    parse_temperature,
)


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a)) / math.sqrt(float(b @ b))


TAU = torch.tensor([0.1, 0.4, 0.25, 1.5], dtype=torch.float64)


def slow_info_nce(a: Tensor, p: Tensor, tau: Tensor) -> float:
    total = 0.0
    for k in range(len(a)):
        below = sum(math.exp(cosine(a[k], other) / float(tau[k])) for other in p)
        total -= math.log(math.exp(cosine(a[k], p[k]) / float(tau[k])) / below) / len(a)
    return total


def slow_softmax(u: Tensor, p: Tensor, n: Tensor, tau: Tensor, *, power: float | None = None) -> float:
    total = 0.0
    for k in range(len(u)):
        above = math.exp(cosine(u[k], p[k]) / float(tau[k]))
        below = sum(math.exp(cosine(u[k], other) / float(tau[k])) for other in n[k])
        total -= math.log(above / (above + below) if power is None else above / below**power) / len(u)
    return total


def test_a_temperature_for_each_row_is_the_formula() -> None:
    a, p, n = rows(4, 3), rows(4, 3, seed=1), rows(5, 3, seed=2)
    assert float(info_nce(a, p, TAU)) == pytest.approx(slow_info_nce(a, p, TAU), abs=1e-9)
    for negatives in (n, n.expand(4, 5, 3).contiguous()):
        own = n.expand(4, 5, 3)
        found = float(sampled_softmax(a, p, negatives, temperature=TAU))
        assert found == pytest.approx(slow_softmax(a, p, own, TAU), abs=1e-9)
        found = float(bilateral_softmax(a, p, negatives, temperature=TAU, power=1.3))
        assert found == pytest.approx(slow_softmax(a, p, own, TAU, power=1.3), abs=1e-9)
        hard = difficulty(a, p, negatives)
        for k in range(4):
            expected = math.log(sum(math.exp(cosine(a[k], other)) for other in n)) - cosine(a[k], p[k])
            assert float(hard[k]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("tau", [torch.tensor(0.3, dtype=torch.float64), TAU], ids=["scalar", "rows"])
def test_a_number_and_a_tensor_agree_and_gradients_are_right(tau: Tensor) -> None:
    a, p, n = (
        rows(4, 3).requires_grad_(),
        rows(4, 3, seed=1).requires_grad_(),
        rows(5, 3, seed=2).requires_grad_(),
    )
    tau = tau.clone().requires_grad_()
    own = n.detach().expand(4, 5, 3).contiguous()
    for loss in (
        lambda x, y, t: info_nce(x, y, t),
        lambda x, y, t: sampled_softmax(x, y, n.detach(), temperature=t),
        lambda x, y, t: sampled_softmax(x, y, own, temperature=t),
        lambda x, y, t: bilateral_softmax(x, y, n.detach(), temperature=t),
    ):
        assert torch.autograd.gradcheck(loss, (a, p, tau))
        gradient = torch.autograd.grad(loss(a, p, tau), tau)[0]
        assert (gradient != 0).all()
        flat = torch.full((4,), 0.3, dtype=torch.float64)
        torch.testing.assert_close(loss(a, p, flat), loss(a, p, 0.3))


@pytest.mark.parametrize("kind", ["equal", "zero", "huge", "plain"])
@pytest.mark.parametrize("shape", [(), (6,)], ids=["scalar", "rows"])
def test_finite_at_002(kind: str, shape: tuple[int, ...]) -> None:
    made = {"equal": torch.ones(6, 4), "zero": torch.zeros(6, 4), "huge": rows(6, 4).float() * 1e18}
    a = made.get(kind, rows(6, 4).float()).clone().requires_grad_()
    tau = torch.full(shape, 0.02, requires_grad=True)
    for loss in (
        info_nce(a, a.detach().roll(1, 0), tau),
        sampled_softmax(a, a.detach().roll(1, 0), a.detach().roll(2, 0), temperature=tau),
        bilateral_softmax(a, a.detach().roll(1, 0), a.detach().roll(2, 0), temperature=tau),
    ):
        assert loss.isfinite()
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, (a, tau)))


def test_other_temperatures_are_refused() -> None:
    a = rows(4, 3)
    for wrong in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="positive"):
            over(a, wrong)
        with pytest.raises(ValueError, match="positive"):
            over(a, torch.tensor([1.0, 1.0, 1.0, wrong]))
        with pytest.raises(ValueError, match="positive"):
            Learned(wrong)
    for shape in ((3,), (4, 1)):
        with pytest.raises(ValueError, match="one for each row"):
            info_nce(a, a, torch.ones(shape, dtype=torch.float64))


@settings(deadline=None, max_examples=50)
@given(st.floats(-0.367879, 1000.0))
def test_lambert_w_is_scipy_s(x: float) -> None:
    from scipy.special import lambertw

    found = float(lambert_w(torch.tensor(x, dtype=torch.float64)))
    assert found == pytest.approx(float(lambertw(x).real), abs=3e-7, rel=1e-9)


def test_lambert_w_at_its_ends() -> None:
    x = torch.tensor([-1.0, -1 / math.e, 0.0, math.e, 1e6], dtype=torch.float64)
    w = lambert_w(x)
    assert w[:4].tolist() == pytest.approx([-1.0, -1.0, 0.0, 1.0], abs=1e-6)
    assert float(w[4] * w[4].exp()) == pytest.approx(1e6)


def test_learned_moves_by_its_gradient_and_stays_in_bounds() -> None:
    learned = Learned(0.5)
    optimizer = torch.optim.Adam(learned.parameters(), lr=0.1)
    a, p = rows(6, 4).float(), rows(6, 4).float() + 0.1
    for _ in range(30):
        optimizer.zero_grad()
        info_nce(a, p, current(learned)).backward()
        optimizer.step()
        learned.after_step()
    assert learned.figures()[""] < 0.1  # pairs that are told apart ask for ever less
    torch.nn.init.constant_(learned.log, -9.0)
    learned.after_step()
    optimizer.zero_grad()
    info_nce(a, -p, current(learned)).backward()  # and it can come back
    assert learned.log.grad is not None
    assert float(learned.log.grad) < 0
    assert learned.figures() == {"": pytest.approx(0.01)}


def graph_of(users: int, items: int, share: float) -> BipartiteGraph:
    held = torch.rand(users, items, generator=torch.Generator().manual_seed(5)) < share
    held[:, 0] = True
    return BipartiteGraph(users, items, held.nonzero().T.contiguous())


def test_adaptive_is_the_formula() -> None:
    """Loops over all pairs for the common temperature, SciPy's W for each user's."""
    from scipy.special import lambertw

    graph = graph_of(20, 30, 0.2)
    encoder = MF(20, 30, 6, generator=torch.Generator().manual_seed(1))
    adaptive = Adaptive(graph, beta=0.5)
    degree = graph.user_degrees.tolist()
    frequent = [u for u in range(20) if degree[u] > float(torch.quantile(graph.user_degrees.double(), 0.2))]
    assert 0 < len(frequent) < 20
    edges = [(u, i) for u, i in graph.edge_index.T.tolist() if u in frequent]
    odds = len(frequent) * 30 / (2 * len(edges))
    assert adaptive(torch.tensor([3, 0])).tolist() == pytest.approx([0.7 / math.log(odds)] * 2)
    adaptive.begin_epoch(1, encoder, graph)  # nothing is known yet
    assert len(adaptive.temperature.unique()) == 1

    losses = {u: [0.1 * u + 0.3 * t for t in range(3)] for u in range(19)}  # user 19 has none
    for t in range(3):
        adaptive.observe(torch.arange(19), torch.tensor([losses[u][t] for u in range(19)]))
    adaptive.observe(torch.tensor([4]), torch.tensor([-torch.inf]))  # a row with no negative
    adaptive.begin_epoch(1, encoder, graph)
    users, items = encoder(graph)
    near = sum(cosine(users[u].detach(), items[i].detach()) for u, i in edges) / len(edges)
    far = [cosine(users[u].detach(), item.detach()) for u in frequent for item in items]
    tau = min(max((near - sum(far) / len(far)) / math.log(odds), 0.01), 10.0)
    means = {u: sum(values) / 3 for u, values in losses.items()}
    middle = sum(means.values()) / 19
    for u in range(20):
        x = max(1e-12 - 1 / math.e, (means.get(u, middle) - middle) / 0.5)
        expected = min(max(tau * math.exp(float(lambertw(x).real)), 0.01), 10.0)
        assert float(adaptive.temperature[u]) == pytest.approx(expected, rel=1e-4), u
    assert adaptive.temperature[18] > adaptive.temperature[0]  # the harder, the warmer
    assert int(adaptive.times.sum()) == 0


def test_adaptive_needs_sparse_data_and_takes_a_start() -> None:
    with pytest.raises(ValueError, match="half"):
        Adaptive(graph_of(10, 10, 0.6))
    assert float(Adaptive(graph_of(20, 30, 0.1), 0.33).temperature[7]) == pytest.approx(0.33)
    even = BipartiteGraph(6, 9, torch.stack([torch.arange(6), torch.arange(6)]))
    assert float(Adaptive(even).temperature[0]) == pytest.approx(
        0.7 / math.log(6 * 9 / 12)
    )  # all degrees equal


@pytest.mark.parametrize("name", TEMPERATURES)
def test_settings_mean_what_they_say(name: str) -> None:
    graph = graph_of(20, 30, 0.1)
    for text, value in ((f"{name}:0.5", 0.5), (name, {"learned": 0.15}.get(name))):
        made = make_temperature(text, graph, start=0.15)
        assert type(made) is TEMPERATURES[name]
        found = current(made, torch.tensor([2]))
        assert isinstance(found, Tensor)
        if value is not None:
            assert float(found.detach()) == pytest.approx(value)
    assert make_temperature(0.2, graph, start=0.15) == 0.2
    assert parse_temperature(1) == (None, 1.0)
    for wrong in ("warm", f"{name}:", f"{name}:cold", f"{name}:0.001", "0.3", 0.0, math.inf):
        with pytest.raises(InputError):
            parse_temperature(wrong)
