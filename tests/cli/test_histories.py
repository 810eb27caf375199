"""Users by their histories after training: with the run's own encoder, oldest item to newest."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from gclrec import InputError, load_recommender
from gclrec.common.errors import UnfinishedError
from gclrec.common.ragged import Ragged
from gclrec.encoders import HISTORIES, Sequences
from gclrec.recall.recommender import Recommender
from gclrec.runs.checkpoint import load_state, save_state
from gclrec.runs.folder import RunFolder
from gclrec.training.sequences import continued
from gclrec.training.trained import history_encoder

from .conftest import Outcome

Run = Callable[..., Outcome]


def test_new_items_extend_a_history() -> None:
    """The newest items of training, then the further ones; what comes again is newer than it was."""
    sequences = Sequences(torch.tensor([0, 0, 0, 1]), torch.tensor([5, 3, 4, 3]), 3, 9, length=3)
    users = np.array([0, 1, -1, 2, -1, 0])
    lists = Ragged.from_lists([[], [7, 8, 2, 1], [6, 0], [], [], [5, 2]])
    assert continued(sequences, users, lists).tolist() == [
        [5, 3, 4],
        [8, 2, 1],
        [-1, 6, 0],
        [-1, -1, -1],
        [-1, -1, -1],
        [4, 5, 2],
    ]
    nothing = Ragged.empty(2)
    assert continued(sequences, np.array([-1, 2]), nothing).tolist() == [[-1] * 3] * 2


@pytest.fixture(params=HISTORIES)
def run(
    request: pytest.FixtureRequest,
    gclrec: Run,
    clicks: Path,
    tastes: dict[str, Path],
    tmp_path: Path,
) -> Path:
    """Return a trained run of users with attributes and histories."""
    flags = ("--encoder", "two_tower", "--attributes", "input", "--user-attributes", tastes["users"])
    more = ("--history", request.param, "--history-length", 4, "--aug", "none", "--score", "cosine")
    path = tmp_path / "run"
    outcome = gclrec("train", "--dataset", clicks, "--run", path, *flags, *more, "--epochs", 2, "--dim", 8)
    assert outcome.code == 0, outcome.err
    return path


def test_users_are_encoded_as_in_training(run: Path) -> None:
    """Without new items a user of the run has their trained vector, in one batch with new users."""
    recommender = Recommender.load(run)
    encode = history_encoder(RunFolder.open(run))
    assert encode is not None
    rows = np.array([4, -1, 0, 59])
    train = pl.read_parquet(run / "split" / "train.parquet").sort("time", maintain_order=True)
    own = train.filter(pl.col("user") == 4)["item"].to_numpy()
    sent = recommender.folding.item_sent
    given = Ragged.from_lists([[], own, [], []])
    vectors = encode(rows, given, sent)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(vectors[[0, 2, 3]], recommender.user_vectors[rows[[0, 2, 3]]], atol=1e-6)
    assert not np.allclose(vectors[1], vectors[0], atol=1e-3)  # the same history, but nobody known


def test_service_runs_the_encoder(gclrec: Run, run: Path, tmp_path: Path) -> None:
    """``--items`` and ``--users-file`` answer with it; the order, or the time, of what is given counts."""
    encode = history_encoder(RunFolder.open(run))
    assert encode is not None
    recommender = load_recommender(run)
    raw = recommender.items.ids[:6].to_list()
    told = gclrec("recommend", run, "--items", *raw, "-k", 5, "--json").values
    expected = recommender.recommend_for(raw, 5)
    assert told["items"] == [item for item, _ in expected]
    rows = np.arange(6)
    sent = recommender.folding.item_sent
    vector = encode(np.array([-1]), Ragged.from_lists([rows]), sent)[0]
    scores = recommender.index.vectors @ (vector / np.linalg.norm(vector))
    assert expected[0].score == pytest.approx(np.delete(scores, rows).max(), abs=1e-6)
    backwards = gclrec("recommend", run, "--items", *raw[::-1], "-k", 5, "--json").values
    assert backwards["scores"] != told["scores"]

    table = pl.DataFrame({"user": ["new"] * 6, "item": raw[::-1], "timestamp": range(106, 100, -1)})
    table.write_csv(tmp_path / "histories.csv")
    out = tmp_path / "recs.parquet"
    gclrec("recommend", run, "--users-file", tmp_path / "histories.csv", "-k", 5, "--out", out)
    assert pl.read_parquet(out)["item"].to_list() == told["items"]


def test_a_run_with_histories_needs_its_encoder(run: Path) -> None:
    """Loaded without the encoder, a run refuses to guess what the encoder would say; the rest is the same."""
    plain, whole = Recommender.load(run), load_recommender(run)
    assert plain.recommend("user-3", 5) == whole.recommend("user-3", 5)
    raw = plain.items.ids[:3].to_list()
    for history in (raw, pl.DataFrame({"user": ["new"] * 3, "item": raw})):
        with pytest.raises(InputError, match=r"load the recommender with gclrec\.load_recommender"):
            plain.recommend_for(history, 5)


def test_an_encoder_of_another_epoch_than_the_vectors(run: Path) -> None:
    """As after a training that was gone on with and killed: vectors of two models are not mixed."""
    best = RunFolder.open(run).best_checkpoint
    tensors, values = load_state(best)
    save_state(best, {name: tensor + 1 for name, tensor in tensors.items()}, values | {"epoch": 3})
    with pytest.raises(UnfinishedError, match=r"best\.safetensors: is of a later epoch than embeddings/"):
        load_recommender(run)
    assert len(Recommender.load(run).recommend("user-3", 5)) == 5  # needs the vectors alone


def test_a_recommender_with_histories_is_pickled(run: Path) -> None:
    recommender = load_recommender(run)
    again = pickle.loads(pickle.dumps(recommender))
    histories = pl.DataFrame({"user": ["user-3", "new", "new"], "item": [4, 8, 6]})
    assert again.recommend_for(histories, 5).equals(recommender.recommend_for(histories, 5))
    assert again.recommend("user-4", 5) == recommender.recommend("user-4", 5)
