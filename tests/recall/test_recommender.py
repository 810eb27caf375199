"""From a run folder to answers by raw id: the same as the evaluation ranks, and bad folders are named."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputError
from gclrec.common.ragged import Ragged
from gclrec.evaluation.ranking import top_k
from gclrec.recall.build_index import BACKENDS, build_index
from gclrec.recall.index import Index
from gclrec.recall.recommendation import Recommendation
from gclrec.recall.recommender import Recommender
from gclrec.runs.embeddings import read_embeddings, write_embeddings
from gclrec.runs.reading import PARTS

from .fake_run import FakeRun, write_run
from .folded_run import folded_run


def export(run: FakeRun, backend: str) -> None:
    index = build_index(
        run.item_vectors, run.items, backend=backend, queries=run.user_vectors, target_recall=0.97
    )
    index.save(run.path / "index")


# -- answers --------------------------------------------------------------------------------------


def test_recommend_by_the_textbook(run: FakeRun) -> None:
    recommender = Recommender.load(run.path)
    for row in range(30):
        found = recommender.recommend(run.users.ids[row], 5)
        expected = run.ranked(row, *PARTS)[:5]
        assert [item for item, _ in found] == run.items.raw(expected).to_list()
        scores = run.item_vectors[expected] @ run.user_vectors[row]
        np.testing.assert_allclose([score for _, score in found], scores, rtol=1e-5)


@pytest.mark.parametrize("num_users", [30, 50])  # a few are scanned one by one, more ranked together
@pytest.mark.parametrize("seen", [("train",), ("train", "valid"), PARTS])
def test_ranks_as_the_evaluation_does(tmp_path: Path, num_users: int, seen: tuple[str, ...]) -> None:
    """The same items, order and scores: what was measured is what is served."""
    run = write_run(tmp_path / "run", num_users=num_users)
    pairs = [np.concatenate(sides) for sides in zip(*(run.parts[part] for part in seen), strict=True)]
    listed = Ragged.from_pairs(*pairs, num_users)
    items, scores = (part.numpy() for part in top_k(run.user_vectors, run.item_vectors, 60, seen=listed))
    recommender = Recommender.load(run.path, seen=seen)
    frame = pl.concat(recommender.recommend_all(60))
    place, rank = np.nonzero(items >= 0)
    assert frame["user"].to_list() == run.users.raw(place).to_list()
    assert frame["item"].to_list() == run.items.raw(items[place, rank]).to_list()
    assert frame["rank"].to_list() == (rank + 1).tolist()
    np.testing.assert_allclose(frame["score"].to_numpy(), scores[place, rank], rtol=1e-5, atol=1e-6)


def test_exclude_seen(run: FakeRun) -> None:
    recommender = Recommender.load(run.path)
    everything, nothing = run.users.ids[0], run.users.ids[1]
    assert recommender.recommend(everything) == []
    assert len(recommender.recommend(everything, 60, exclude_seen=False)) == 60
    assert recommender.recommend(nothing, 60) == recommender.recommend(nothing, 60, exclude_seen=False)
    for row in range(30):
        all_ranked = run.items.raw(run.ranked(row)).to_list()
        found = recommender.recommend(run.users.ids[row], 60, exclude_seen=False)
        assert [item for item, _ in found] == all_ranked


def test_seen_is_what_the_named_parts_hold(run: FakeRun) -> None:
    for seen in (("train",), "valid", ("train", "test"), ()):
        named = (seen,) if isinstance(seen, str) else seen
        recommender = Recommender.load(run.path, seen=seen)
        mask = run.known(*named)
        assert recommender.known.tolist() == [np.flatnonzero(row).tolist() for row in mask]


def test_a_pair_in_two_parts_counts_once(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    for part in ("valid", "test"):
        (run.path / "split" / f"{part}.parquet").write_bytes(
            (run.path / "split" / "train.parquet").read_bytes()
        )
    assert len(Recommender.load(run.path).known.values) == len(run.parts["train"][0])


def test_recommend_many_and_all_agree_with_one(run: FakeRun) -> None:
    recommender = Recommender.load(run.path)
    some = recommender.recommend_many(run.users.ids[5:9].to_list(), 4)
    assert some.schema == {"user": run.users.ids.dtype, "item": run.items.ids.dtype} | {
        "rank": pl.Int64(),
        "score": pl.Float32(),
    }
    progress: list[tuple[int, int]] = []
    tables = list(
        recommender.recommend_all(4, batch=8, progress=lambda done, count: progress.append((done, count)))
    )
    assert progress == [(8, 30), (16, 30), (24, 30), (30, 30)]
    whole = pl.concat(tables)
    wanted = run.users.ids[5:9].to_list()
    assert whole.filter(pl.col("user").is_in(wanted))["item"].to_list() == some["item"].to_list()
    for user in wanted:
        one = recommender.recommend(user, 4)
        rows = some.filter(pl.col("user") == user)
        assert rows["item"].to_list() == [item for item, _ in one]
        assert rows["rank"].to_list() == [1, 2, 3, 4]
    assert whole["user"].n_unique() == 29  # user 0 has everything
    assert recommender.recommend_many([], 3).is_empty()


@pytest.mark.parametrize("backend", BACKENDS)
def test_with_an_index(backend: str, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", num_items=1200, ids="string", skew=0.3)
    export(run, backend)
    recommender = Recommender.load(run.path)
    assert recommender.index.backend == backend or backend == "auto"
    exactly = Recommender.load(run.path, use_index=False)
    assert exactly.index.backend == "exact"
    ours, theirs = (pl.concat(each.recommend_all(10)) for each in (recommender, exactly))
    common = ours.join(theirs, on=["user", "item"])
    assert len(common) >= 0.9 * len(theirs)
    np.testing.assert_allclose(
        common["score"].to_numpy(), common["score_right"].to_numpy(), rtol=1e-4, atol=1e-5
    )
    assert len(ours) == len(theirs)
    for user, frame in ours.group_by("user"):
        known = run.known(*PARTS)[run.users.row(user[0])]
        assert not known[run.items.rows(frame["item"])].any()


def test_similar_items_by_cosine(run: FakeRun) -> None:
    recommender = Recommender.load(run.path)
    unit = run.item_vectors / np.linalg.norm(run.item_vectors, axis=1, keepdims=True)
    for row in (0, 17, 59):
        cosine = unit @ unit[row]
        expected = [i for i in np.argsort(-cosine, kind="stable") if i != row][:5]
        found = recommender.similar_items(run.items.ids[row], 5)
        assert [item for item, _ in found] == run.items.raw(expected).to_list()
        np.testing.assert_allclose([score for _, score in found], cosine[expected], rtol=1e-4)
    assert len(recommender.similar_items(run.items.ids[0], 60)) == 59


def test_similar_to_a_zero_vector(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    held = read_embeddings(run.path / "embeddings")
    held.item_vectors[4] = 0
    write_embeddings(
        run.path / "embeddings",
        user_ids=held.users,
        user_vectors=held.user_vectors,
        user_degrees=held.user_degrees,
        item_ids=held.items,
        item_vectors=held.item_vectors,
        item_degrees=held.item_degrees,
    )
    found = Recommender.load(run.path).similar_items(run.items.ids[4], 3)
    assert [score for _, score in found] == [0, 0, 0]


def test_ids_may_be_typed_as_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", ids="int")
    recommender = Recommender.load(run.path)
    row = int(np.argmin(run.users.ids.to_numpy()))  # a negative number
    assert recommender.recommend(str(run.users.ids[row])) == recommender.recommend(run.users.ids[row])
    assert recommender.recommend(run.users.ids.to_numpy()[3]) == recommender.recommend(run.users.ids[3])
    assert isinstance(recommender.recommend(run.users.ids[3])[0], Recommendation)
    assert type(recommender.recommend(run.users.ids[3])[0].item) is int
    assert type(recommender.recommend(run.users.ids[3])[0].score) is float


def test_threads_share_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", num_items=1200)
    export(run, "hnsw")
    recommender = Recommender.load(run.path)
    users = run.users.ids.to_list()
    alone = [recommender.recommend(user) for user in users]
    fresh = Recommender.load(run.path)
    start = threading.Barrier(4)

    def work(_: int) -> list[list[Recommendation]]:
        start.wait()
        return [fresh.recommend(user) for user in users]

    with ThreadPoolExecutor(4) as pool:
        assert all(found == alone for found in pool.map(work, range(4)))


# -- in memory -------------------------------------------------------------------------------------


@pytest.mark.parametrize("layer_weights", ["mean", None])
def test_in_memory_as_from_a_folder(layer_weights: str | None, tmp_path: Path) -> None:
    """Vectors, ids, known items and a fold-in make the recommender that their run folder makes."""
    run = folded_run(tmp_path / "run", layer_weights)
    loaded = Recommender.load(run.path)
    memory = Recommender(
        run.users,
        run.user_vectors,
        Index.exact(run.item_vectors, run.items),
        loaded.known,
        item_degrees=np.bincount(run.parts["train"][1], minlength=60),
        fold_in=run.fold_in,
        trained_on=run.histories,
    )
    assert "run=" not in repr(memory)
    users, some = run.users.ids.to_list(), run.items.raw([3, 7, 20])
    back = pl.DataFrame({"user": [str(users[9])] * 2 + ["new"], "item": run.items.raw([5, 6, 8])})
    news = pl.DataFrame({"user": users[:3], "item": [10_000, 10_000, 10_001]})
    later = news.with_columns(pl.col("item") + 5)
    for ask in (
        lambda one: one.recommend(users[4], 9),
        lambda one: one.recommend_many(users, 9).to_dict(as_series=False),
        lambda one: one.recommend_for(some, 9),
        lambda one: one.recommend_for(back, 9).to_dict(as_series=False),
        lambda one: one.similar_items(run.items.ids[3], 5),
        lambda one: one.cold_only().recommend(users[4], 9),
        lambda one: one.add_items(news).recommend_for([10_000, some[0]], 9),
        lambda one: one.add_items(news).add_items(later).recommend(users[0], 64),
    ):
        assert ask(memory) == ask(loaded)
    with pytest.raises(InputError, match="load the recommender from"):
        memory.add_items(news).save_added()


# -- what cannot be answered ------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["nobody", 10**6, -(10**30), "1.5", "", "٣", " 2"])
def test_unknown_ids(run: FakeRun, bad: object) -> None:
    recommender = Recommender.load(run.path)
    for ask, kind in (
        (lambda: recommender.recommend(bad), "user"),
        (
            lambda: recommender.recommend_many([run.users.ids[3], bad] if isinstance(bad, str) else [bad]),
            "user",
        ),
        (lambda: recommender.similar_items(bad), "item"),
    ):
        if isinstance(bad, int) and abs(bad) > 2**63:
            continue
        with pytest.raises(InputError, match=f"unknown {kind}"):
            ask()


@pytest.mark.parametrize("k", [0, -1, 61])
def test_k_out_of_range(run: FakeRun, k: int) -> None:
    recommender = Recommender.load(run.path)
    user, item = run.users.ids[3], run.items.ids[3]
    for ask in (
        lambda: recommender.recommend(user, k),
        lambda: recommender.recommend_many([user], k),
        lambda: recommender.recommend_all(k),
        lambda: recommender.similar_items(item, k),
    ):
        with pytest.raises(InputError, match="k must be from 1 to 60"):
            ask()
    with pytest.raises(InputError, match="batch"):
        recommender.recommend_all(5, batch=0)


def test_seen_must_be_parts(run: FakeRun) -> None:
    with pytest.raises(InputError, match="unknown part 'tset'"):
        Recommender.load(run.path, seen=("train", "tset"))


# -- folders ----------------------------------------------------------------------------------------


def refused(run: FakeRun, said: str) -> None:
    with pytest.raises(InputError) as caught:
        Recommender.load(run.path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such run folder"):
        Recommender.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="not a run folder"):
        Recommender.load(tmp_path)


def test_users_and_their_vectors_go_together(run: FakeRun) -> None:
    index, nothing = Index.exact(run.item_vectors, run.items), Ragged.empty(30)
    with pytest.raises(InputError, match="30 users, 29 vectors and lists of known items for 30"):
        Recommender(run.users, run.user_vectors[1:], index, nothing)
    with pytest.raises(InputError, match="lists of known items for 29: must be equal"):
        Recommender(run.users, run.user_vectors, index, Ragged.empty(29))


def test_an_index_of_other_vectors_is_refused(run: FakeRun) -> None:
    other = build_index(run.item_vectors[::-1].copy(), run.items, backend="exact")
    other.save(run.path / "index")
    refused(run, f"export again: gclrec export {run.path}")
    assert Recommender.load(run.path, use_index=False)


def test_an_index_of_other_ids_is_refused(run: FakeRun) -> None:
    other = type(run.items)(run.items.ids.reverse())
    build_index(run.item_vectors, other, backend="exact").save(run.path / "index")
    refused(run, "export again")


@pytest.mark.parametrize("name", ["embeddings/users.parquet", "split/valid.parquet", "index/items.faiss"])
@pytest.mark.parametrize("keep", [0, 0.5, None])
def test_a_file_that_was_cut_off_or_lost(run: FakeRun, name: str, keep: float | None) -> None:
    export(run, "exact")
    path = run.path / name
    content = path.read_bytes()
    path.unlink()
    if keep is not None:
        path.write_bytes(content[: int(len(content) * keep)])
    refused(run, str(path))


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pl.DataFrame({"user": [30], "item": [0]}), "user rows must lie in [0, 30), found 30"),
        (pl.DataFrame({"user": [0], "item": [-1]}), "item rows must lie in [0, 60)"),
        (pl.DataFrame({"user": [0], "thing": [1]}), "column 'item' of row numbers"),
        (pl.DataFrame({"user": ["a"], "item": [1]}), "column 'user' of row numbers"),
        (pl.DataFrame({"user": [0, None], "item": [1, 1]}), "column 'user' of row numbers"),
    ],
)
def test_a_split_that_does_not_fit(run: FakeRun, frame: pl.DataFrame, said: str) -> None:
    frame.write_parquet(run.path / "split" / "test.parquet")
    refused(run, said)
