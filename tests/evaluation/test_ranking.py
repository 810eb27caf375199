import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError
from gclrec.evaluation import Ragged, top_k, top_k_of_scores
from gclrec.evaluation.ranking import _Layout, top_k_scaled

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")),
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def coarse(rows, dim, seed, low=-2, high=3):
    """Vectors of small whole numbers: scores are exact in any order of summation, and ties abound."""
    return torch.randint(low, high, (rows, dim), generator=seeded(seed)).float()


def random_seen(num_users, num_items, share, seed=0):
    mask = torch.rand(num_users, num_items, generator=seeded(seed)) < share
    user, item = mask.nonzero().T.numpy()
    return mask, Ragged.from_pairs(user, item, num_users)


def slow_top_k(users, items, k, mask=None):
    """Textbook: all scores, a stable sort, the unseen ones first to last."""
    scores = users @ items.T
    if mask is not None:
        scores = scores.masked_fill(mask, -float("inf"))
    values, order = scores.sort(dim=1, descending=True, stable=True)
    pad = max(k - items.shape[0], 0)
    values = torch.nn.functional.pad(values[:, :k], (0, pad), value=-float("inf"))
    order = torch.nn.functional.pad(order[:, :k], (0, pad), value=-1)
    return order.masked_fill(values == -float("inf"), -1), values


def assert_same(found, expected):
    assert torch.equal(found[0].cpu(), expected[0])
    assert torch.equal(found[1].cpu(), expected[1])


@settings(deadline=None, max_examples=80)
@given(
    num_users=st.integers(1, 12),
    num_items=st.integers(1, 40),
    dim=st.integers(1, 3),
    k=st.integers(1, 50),
    share=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 1000),
)
def test_equals_a_stable_sort_on_small_data(num_users, num_items, dim, k, share, seed):
    users, items = coarse(num_users, dim, seed), coarse(num_items, dim, seed + 1)
    mask, seen = random_seen(num_users, num_items, share, seed)

    assert_same(top_k(users, items, k, seen=seen), slow_top_k(users, items, k, mask))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("num_items", "k"), [(3000, 1), (3000, 10), (2999, 20), (5000, 60), (700, 100), (1025, 12)]
)
@pytest.mark.parametrize("spread", [1, 4, 200], ids=["large ties", "ties", "few ties"])
def test_equals_a_stable_sort_on_both_layouts(num_items, k, spread, device):
    users, items = coarse(90, 5, 1, -spread, spread + 1), coarse(num_items, 5, 2, -spread, spread + 1)
    mask, seen = random_seen(90, num_items, 0.2)

    found = top_k(users.to(device), items.to(device), k, seen=seen)
    assert_same(found, slow_top_k(users, items, k, mask))


def test_both_layouts_are_tested():
    assert _Layout.of(3000, 10).chunk > 1
    assert _Layout.of(2999, 20).width > 2999  # some places hold no item
    assert _Layout.of(700, 100).chunk == 1


@pytest.mark.parametrize(
    ("num_items", "k"), [(3, 1), (41_000, 100), (41_000, 1), (10**6, 50), (10**7, 1), (999, 999)]
)
def test_there_are_always_enough_chunks(num_items, k):
    layout = _Layout.of(num_items, k)
    assert layout.chunks >= k
    assert num_items <= layout.width < num_items + layout.chunk

    item = torch.arange(layout.width)[:: max(1, layout.width // 1000)]
    assert torch.equal(layout.item(layout.column(item)), item)


@pytest.mark.parametrize("num_items", [7, 300, 6000])
def test_all_equal_scores_give_the_first_unseen_items(num_items):
    k = 5
    seen = Ragged.from_pairs([0, 0, 2], [1, 3, 0], num_rows=4)
    items, scores = top_k(torch.zeros(4, 8), torch.randn(num_items, 8, generator=seeded()), k, seen=seen)

    assert items.tolist() == [[0, 2, 4, 5, 6], [0, 1, 2, 3, 4], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4]]
    assert not scores.any()


def test_a_tie_across_the_cut_keeps_the_smaller_numbers():
    item_scores = torch.zeros(4000)
    item_scores[[3999, 17]] = 2.0
    item_scores[[3000, 5, 64, 700, 12]] = 1.0
    items, _ = top_k(torch.ones(1, 1), item_scores[:, None], 5)
    assert items.tolist() == [[17, 3999, 5, 12, 64]]


def test_best_items_that_share_few_chunks_are_all_found():
    """The bound is loose here: every item of the first k chunks beats every other item."""
    k, num_items = 10, 3000
    layout = _Layout.of(num_items, k)
    numbers = torch.arange(num_items)
    item_scores = torch.rand(num_items, generator=seeded()) + 100.0 * (numbers % layout.chunks < k)
    assert int((numbers % layout.chunks < k).sum()) > 4 * k + 64  # more than the narrow path takes
    vectors = torch.stack([item_scores, torch.rand(num_items, generator=seeded(1))], dim=1)
    users = torch.eye(2)[[0, 1, 0]]

    assert_same(top_k(users, vectors, k), slow_top_k(users, vectors, k))


@pytest.mark.parametrize("block_size", [1, 7, 64, 1000])
def test_block_size_does_not_change_the_answer(block_size):
    users, items = coarse(100, 6, 3), coarse(2500, 6, 4)
    _, seen = random_seen(100, 2500, 0.1)
    assert_same(top_k(users, items, 15, seen=seen, block_size=block_size), top_k(users, items, 15, seen=seen))


def test_a_user_who_has_seen_everything_gets_empty_places():
    seen = Ragged.from_pairs([0] * 30 + [1] * 28, [*range(30), *range(28)], num_rows=3)
    items, scores = top_k(torch.ones(3, 2), torch.ones(30, 2), 4, seen=seen)

    assert items.tolist() == [[-1] * 4, [28, 29, -1, -1], [0, 1, 2, 3]]
    assert torch.isneginf(scores[0]).all()
    assert scores[1].tolist() == [2.0, 2.0, -float("inf"), -float("inf")]


@pytest.mark.parametrize("num_items", [5, 3000])
@pytest.mark.parametrize("num_users", [12, 108])
def test_several_lengths_of_the_items_share_one_product(num_items, num_users, monkeypatch):
    """Each ranking is that of the items at its length, in one block of users or several."""
    monkeypatch.setattr("gclrec.evaluation.ranking.CPU_SCORES", 1)  # blocks of 64 users
    users, items = coarse(num_users, 4, 0), coarse(num_items, 4, 1)
    scales = 0.5 * 2.0 ** torch.randint(0, 4, (3, num_items), generator=seeded(2))
    _, seen = random_seen(num_users, num_items, 0.3)
    found = top_k_scaled(users, items, scales, 7, seen=seen)
    assert found.shape == (3, num_users, 7)
    for row, scale in zip(found, scales, strict=True):
        assert torch.equal(row, top_k(users, items * scale[:, None], 7, seen=seen)[0])


def test_k_beyond_the_catalogue_leaves_places_empty():
    items, scores = top_k(torch.ones(2, 1), torch.tensor([[1.0], [3.0], [2.0]]), 5)
    assert items.tolist() == [[1, 2, 0, -1, -1]] * 2
    assert scores[0].tolist() == [3.0, 2.0, 1.0, -float("inf"), -float("inf")]


def test_no_users_and_no_items():
    assert top_k(torch.ones(0, 3), torch.ones(5, 3), 2)[0].shape == (0, 2)
    assert top_k(torch.ones(2, 3), torch.ones(0, 3), 2)[0].tolist() == [[-1, -1]] * 2


def test_zero_padding_is_never_recommended():
    """Every real score is negative, so the places that no item fills would win if they counted."""
    items, scores = top_k(torch.ones(4, 1), -1 - torch.rand(2999, 1, generator=seeded()), 20)
    assert items.max() < 2999
    assert (scores < -1).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int32, torch.float64])
def test_types(dtype):
    users, items = coarse(9, 4, 0), coarse(50, 4, 1)
    found, scores = top_k(users.to(dtype), items.to(dtype), 6)
    assert torch.equal(found, slow_top_k(users, items, 6)[0])
    assert scores.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_numpy_vectors_and_trainable_vectors():
    users, items = coarse(9, 4, 0), coarse(50, 4, 1)
    expected = slow_top_k(users, items, 6)
    assert_same(top_k(users.numpy(), items.numpy(), 6), expected)
    assert_same(top_k(users.requires_grad_(), items.requires_grad_(), 6), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"user_vectors": torch.ones(3)}, r"user_vectors: found shape \(3,\)"),
        ({"item_vectors": torch.ones(5, 3)}, "2 dimensions and item_vectors 3"),
        ({"item_vectors": torch.tensor([[1.0, 1.0], [1.0, float("nan")]])}, "item_vectors: row 1 holds NaN"),
        ({"user_vectors": torch.full((3, 2), float("inf"))}, "user_vectors: row 0 holds NaN or infinity"),
        (
            {
                "user_vectors": torch.full((3, 2), 1e30),
                "item_vectors": torch.tensor([[1e30, -1e30]]),
                "seen": None,
            },
            "scores: found NaN",
        ),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"block_size": 0}, "block_size must be at least 1, got 0"),
        ({"seen": Ragged.from_pairs([0], [1], 2)}, "seen lists 2 users, user_vectors 3"),
        ({"seen": Ragged.from_pairs([0], [5], 3)}, "seen names item 5, items are numbered 0 to 4"),
    ],
)
def test_bad_input(change, message):
    arguments = {"user_vectors": torch.ones(3, 2), "item_vectors": torch.ones(5, 2), "k": 2} | change
    with pytest.raises(InputError, match=message):
        top_k(**arguments)


def test_seen_groups_pairs_by_user():
    seen = Ragged.from_pairs([3, 0, 3, 1], [9, 4, 2, 7], num_rows=5)
    assert len(seen) == 5
    assert [seen[user].tolist() for user in range(5)] == [[4], [7], [], [9, 2], []]

    part = seen.take(torch.tensor([3, 2, 0, 3]))
    assert [part[row].tolist() for row in range(4)] == [[9, 2], [], [4], [9, 2]]
    assert len(seen.take([])) == 0


@pytest.mark.parametrize(("user", "item"), [([5], [0]), ([-1], [0]), ([0], [-2]), ([0, 1], [0])])
def test_seen_refuses_bad_pairs(user, item):
    with pytest.raises(InputError, match="pairs: "):
        Ragged.from_pairs(user, item, num_rows=5)


@pytest.fixture(scope="module")
def gowalla_seen():
    """The training pairs of 500 gowalla users, and the size of its catalogue."""
    path = Path(os.environ.get("GCLREC_DATASETS", "")) / "gowalla" / "train.txt.gz"
    if "GCLREC_DATASETS" not in os.environ or not path.exists():
        pytest.skip("set GCLREC_DATASETS to a folder that holds gowalla/train.txt.gz")
    with gzip.open(path, "rt") as lines:
        lists = [np.array(line.split()[1:], dtype=np.int64) for line in lines]
    num_items = 1 + max(int(items.max()) for items in lists)
    chosen = [lists[user] for user in np.random.default_rng(0).choice(len(lists), 500, replace=False)]
    mask = torch.zeros(500, num_items, dtype=torch.bool)
    for row, items in enumerate(chosen):
        mask[row, torch.from_numpy(items)] = True
    user = np.repeat(np.arange(500), [len(items) for items in chosen])
    return mask, Ragged.from_pairs(user, np.concatenate(chosen), 500)


@pytest.mark.parametrize("k", [20, 100])
def test_equals_a_stable_sort_on_gowalla(gowalla_seen, k):
    mask, seen = gowalla_seen
    users, items = coarse(500, 64, 0, -8, 9) / 8, coarse(mask.shape[1], 64, 1, -8, 9) / 8
    assert_same(top_k(users, items, k, seen=seen), slow_top_k(users, items, k, mask))

    users, items = (torch.randn(len(x), 64, generator=seeded(), dtype=torch.float64) for x in (users, items))
    found, expected = top_k(users, items, k, seen=seen), slow_top_k(users, items, k, mask)
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])


@pytest.mark.parametrize(("num_items", "k"), [(1, 1), (7, 20), (300, 5), (5000, 20)])
def test_scores_made_elsewhere_are_ranked_as_those_of_vectors(num_items, k):
    users, items = coarse(30, 3, 1), coarse(num_items, 3, 2)
    _, seen = random_seen(30, num_items, 0.1)
    scores = users @ items.T
    before = scores.clone()
    for hidden in (None, seen):
        expected, found = top_k(users, items, k, seen=hidden), top_k_of_scores(scores, k, seen=hidden)
        assert torch.equal(found[0], expected[0])
        assert torch.equal(found[1], expected[1])
    assert torch.equal(scores, before)


def test_scores_that_cannot_be_ranked_are_refused():
    for scores, k in ((torch.zeros(3), 1), (torch.zeros(2, 3), 0)):
        with pytest.raises(InputError, match="expected scores"):
            top_k_of_scores(scores, k)
    with pytest.raises(InputError, match="seen lists"):
        top_k_of_scores(torch.zeros(2, 3), 1, seen=Ragged.from_pairs([0], [1], 3))
    for item in (3, -1):
        with pytest.raises(InputError, match=f"seen names item {item}, items are numbered 0 to 2"):
            top_k_of_scores(torch.zeros(1, 3), 1, seen=Ragged(np.array([0, 1]), np.array([item])))
    with pytest.raises(InputError, match="NaN"):
        top_k_of_scores(torch.full((2, 3), float("nan")), 1)
    assert top_k_of_scores(torch.zeros(2, 0), 2)[0].tolist() == [[-1, -1], [-1, -1]]
