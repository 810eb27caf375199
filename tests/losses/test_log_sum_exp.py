"""The streamed log-sum-exp against loops in float64: values, gradients, hidden keys, extreme numbers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gclrec.graph.functional import unit
from gclrec.losses import log_sum_exp as log_sums
from gclrec.losses.info_nce import info_nce
from gclrec.losses.log_sum_exp import log_sum_exp, mean_log_sum_exp
from gclrec.losses.ranking_losses import sampled_softmax


def rows(count: int, dim: int, seed: int) -> Tensor:
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def slow_mean(a: Tensor, n: Tensor, hidden: list[int]) -> Tensor:
    """Return the mean over rows of the log of a sum that is written out term by term."""
    logs = []
    for k, row in enumerate(a):
        terms = [(row * key).sum().exp() for key, whose in zip(n, hidden, strict=True) if whose != k]
        logs.append(torch.stack(terms).sum().log())
    return torch.stack(logs).mean()


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 9), st.integers(2, 12), st.integers(1, 5), st.booleans(), st.integers(0, 10**6))
def test_mean_is_the_formula_with_its_gradients(
    count: int, keys: int, dim: int, hide: bool, seed: int
) -> None:
    a, n = (rows(size, dim, seed + shift).requires_grad_() for shift, size in enumerate((count, keys)))
    hidden = torch.randint(-1, count, (keys,), generator=torch.Generator().manual_seed(seed))
    hidden[0] = -1  # something is left for each row
    if not hide:
        hidden.fill_(-1)
    expected = slow_mean(a, n, hidden.tolist())
    found = mean_log_sum_exp(a, n, hidden if hide else None)
    assert found.item() == pytest.approx(expected.item(), abs=1e-9)
    for mine, plain in zip(
        torch.autograd.grad(2 * found, (a, n)), torch.autograd.grad(2 * expected, (a, n)), strict=True
    ):
        torch.testing.assert_close(mine, plain, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("block", [1, 18, 45, 10**6])
def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("gclrec.losses.log_sum_exp._BLOCK", block)
    monkeypatch.setattr("gclrec.losses.log_sum_exp._FEWEST_ROWS", 1)
    a, n = rows(7, 3, 0).requires_grad_(), rows(9, 3, 1).requires_grad_()
    hidden = torch.tensor([0, -1, 6, 3, 3, 0, -1, 5, 6])
    expected = slow_mean(a, n, hidden.tolist())
    found = mean_log_sum_exp(a, n, hidden)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(log_sum_exp(a, n), (a @ n.T).logsumexp(1))
    for mine, plain in zip(
        torch.autograd.grad(found, (a, n)), torch.autograd.grad(expected, (a, n)), strict=True
    ):
        torch.testing.assert_close(mine, plain)


def test_gradients_are_right_and_only_those_asked_for() -> None:
    a, n = rows(4, 3, 2).requires_grad_(), rows(6, 3, 3).requires_grad_()
    hidden = torch.tensor([-1, 0, 3, 3, -1, 1])
    assert torch.autograd.gradcheck(lambda x, y: mean_log_sum_exp(x, y, hidden), (a, n))
    assert torch.autograd.gradcheck(log_sum_exp, (a, n))
    mean_log_sum_exp(a, n.detach()).backward()
    assert n.grad is None
    assert a.grad is not None
    assert (a.grad != 0).all()


@pytest.mark.parametrize("scale", [1.0, 30.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_seen_places_are_weights_of_zero(
    weighted: bool, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one block and in several, tame or not; a row without any weight has no gradient."""
    a, n = (rows(7, 3, 2) * scale).requires_grad_(), rows(5, 3, 3).requires_grad_()
    weight = rows(1, 5, 4)[0] if weighted else None
    mask = rows(7, 5, 5) > 0.3
    mask[4], mask[0, :3] = True, True
    seen = mask.view(-1).nonzero().view(-1)
    seen[:2] = seen[:2].flip(0)  # within a row in any order
    dense = torch.zeros(7, 5, dtype=a.dtype) if weight is None else weight.expand(7, 5)
    dense = dense.masked_fill(mask, -torch.inf)
    expected = log_sum_exp(a, n, dense)
    assert expected[4].isneginf()
    for block in (2**19, 10):
        monkeypatch.setattr(log_sums, "_BLOCK", block)
        monkeypatch.setattr(log_sums, "_FEWEST_ROWS", 1)
        found = log_sum_exp(a, n, weight, seen)
        torch.testing.assert_close(found, expected)
        kept = torch.arange(7) != 4
        for mine, plain in zip(
            torch.autograd.grad(found[kept].sum(), (a, n)),
            torch.autograd.grad(expected[kept].sum(), (a, n), retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, plain)
            assert mine.isfinite().all()


@pytest.mark.parametrize(("scale", "error"), [(1.0, 0.01), (10.0, 0.02), (50.0, 0.1)])  # the last is not tame
def test_half_precision_is_near_and_only_for_single(scale: float, error: float) -> None:
    """Under autocast logits are rounded to 8 bits; sums over rows are not, and float64 stays as it is."""
    a, n = (rows(size, 16, seed).float() for size, seed in ((40, 0), (300, 1)))
    a, n = (torch.nn.functional.normalize(x) for x in (a, n))
    a = (scale * a).requires_grad_()
    n.requires_grad_()
    hidden = torch.randint(-1, 40, (300,), generator=torch.Generator().manual_seed(2))
    seen = torch.randint(0, 40 * 300, (500,), generator=torch.Generator().manual_seed(3)).unique()
    weight = rows(300, 1, 4).squeeze(1).float()

    def found(half: bool, *x: Tensor) -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            mean = mean_log_sum_exp(*x, hidden)
            each = log_sum_exp(*x, weight.to(x[0].dtype), seen)
        loss = mean + each.square().mean()
        return [mean.detach(), each.detach(), *torch.autograd.grad(loss, x)]

    for half, single in zip(found(True, a, n), found(False, a, n), strict=True):
        assert half.dtype == single.dtype == torch.float32
        assert 0 < float((half - single).norm() / single.norm()) < error
    double = [x.detach().double().requires_grad_() for x in (a, n)]
    for half, whole in zip(found(True, *double), found(False, *double), strict=True):
        assert torch.equal(half, whole)


def test_nothing_of_the_size_of_all_logits_is_kept() -> None:
    """The backward pass holds two tensors of the inputs' sizes."""
    kept: list[int] = []
    a, n = torch.randn(300, 4, requires_grad=True), torch.randn(5000, 4, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x.numel()) or x, lambda x: x):
        mean_log_sum_exp(a, n)
    assert sorted(kept) == [a.numel(), n.numel()]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e4, 1e15])
def test_extreme_numbers_stay_finite(scale: float) -> None:
    a = (torch.randn(5, 3) * scale).requires_grad_()
    n = torch.randn(8, 3, requires_grad=True)
    loss = mean_log_sum_exp(a, n, torch.tensor([0, 1, 2, 3, 4, -1, -1, -1]))
    loss.backward()
    assert loss.isfinite()
    assert a.grad is not None
    assert a.grad.isfinite().all()
    assert n.grad is not None
    assert n.grad.isfinite().all()
    assert mean_log_sum_exp(a[:0], n).item() == 0.0


def test_info_nce_with_all_nodes_is_the_formula() -> None:
    anchor, keys = rows(3, 4, 5).requires_grad_(), rows(8, 4, 6).requires_grad_()
    own, hidden = [6, 0, 3], [1, -1, 0, -1, 2, 2, -1, 0]
    total = torch.zeros((), dtype=torch.float64)
    for k, node in enumerate(own):
        cosines = [torch.cosine_similarity(anchor[k], key, dim=0) for key in keys]
        below = torch.stack([(c / 0.3).exp() for j, c in enumerate(cosines) if hidden[j] != k]).sum()
        total = total - ((cosines[node] / 0.3).exp() / below).log() / 3
    found = info_nce(anchor, keys, 0.3, own=torch.tensor(own), hidden=torch.tensor(hidden))
    assert found.item() == pytest.approx(total.item(), abs=1e-9)
    for mine, plain in zip(
        torch.autograd.grad(found, (anchor, keys)), torch.autograd.grad(total, (anchor, keys)), strict=True
    ):
        torch.testing.assert_close(mine, plain, atol=1e-9, rtol=1e-9)
        assert (mine != 0).all()


@pytest.mark.parametrize("scale", [0.0, 1.0, 1e18])
def test_info_nce_with_all_nodes_is_finite_at_a_small_temperature(scale: float) -> None:
    keys = (torch.randn(9, 3) * scale).requires_grad_()
    own = torch.tensor([2, 8])
    loss = info_nce(keys[[8, 2]], keys, 0.02, own=own)
    loss.backward()
    assert loss.isfinite()
    assert keys.grad is not None
    assert keys.grad.isfinite().all()
    equal = torch.ones(9, 3) * max(scale, 1.0)
    assert info_nce(equal[own], equal, 0.02, own=own).item() == pytest.approx(math.log(9), rel=1e-5)


def test_keys_that_do_not_suit_are_refused() -> None:
    anchor, keys = torch.ones(2, 3), torch.ones(5, 3)
    with pytest.raises(ValueError, match="one key an anchor"):
        info_nce(anchor, keys, own=torch.tensor([1]))
    with pytest.raises(ValueError, match="one anchor a key"):
        info_nce(anchor, keys, own=torch.tensor([1, 2]), hidden=torch.tensor([-1, -1]))


@pytest.mark.parametrize(
    "loss",
    [
        lambda a, n: info_nce(a, a.detach()),
        lambda a, n: sampled_softmax(a, a.detach(), n, score="dot"),
        lambda a, n: unit(a).sum(),
    ],
    ids=["info_nce", "softmax", "unit"],
)
def test_a_second_derivative_is_refused(loss) -> None:
    """Also where the gradient that comes in is a constant, which PyTorch's own check lets pass."""
    a, n = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss(a, n), a, create_graph=True)
    assert torch.autograd.grad(loss(a, n), a)[0].any()
