"""A sparsity study: fewer pairs are learnt from, and the lists are ranked against the same candidates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from gclrec.data.splits import make_split
from gclrec.data.synthetic import make_synthetic
from gclrec.evaluation.evaluator import evaluate
from gclrec.evaluation.ranking import top_k
from gclrec.recall.recommender import Recommender
from gclrec.runs.embeddings import read_embeddings
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig
from gclrec.training.recorder import fit_run


@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("kind", [{"encoder": "mf", "score": "calibrated"}, {"baseline": "pure_svd"}])
def test_removed_pairs_are_in_no_list(tmp_path: Path, kind: dict[str, str], refit: bool) -> None:
    dataset = make_synthetic(num_users=80, num_items=60, num_interactions=1200, seed=0)
    whole, thin = (make_split(dataset, "random", train_fraction=fraction) for fraction in (1.0, 0.25))
    config = TrainConfig(
        dim=8, epochs=2, refit=refit, aug="none", train_fraction=0.25, ks=(5,), select="recall@5", **kind
    )
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), thin)
    result = fit_run(folder)

    read = folder.split()
    assert read.removed is not None
    assert len(read.train) + len(read.removed) == len(whole.train)
    held = read_embeddings(folder.path / "embeddings")
    vectors = held.user_vectors, held.item_vectors
    learnt = read.refit().train if refit else read.train
    known = whole.train.joined(whole.valid)
    figures = evaluate(*map(torch.from_numpy, vectors), learnt, whole.test, ks=(5,), exclude=known).values
    assert result.values["metrics"]["test/all/recall@5"] == pytest.approx(figures["all/recall@5"], abs=1e-9)

    # what is known is not therefore what was learnt
    trained_on = Recommender.load(folder.path).training_items
    keys = trained_on.owners() * len(learnt.items) + trained_on.values
    assert keys.tolist() == sorted(learnt.pair_keys.tolist())

    recommender = Recommender.load(folder.path, seen=("train", "valid"))
    user = int(whole.test.user[0])
    has = known.item[known.user == user]
    wanted = top_k(
        *(torch.from_numpy(x) for x in (vectors[0][[user]], np.delete(vectors[1], has, axis=0))), 5
    )[0]
    names = np.delete(np.arange(len(whole.train.items)), has)[wanted[0].numpy()]
    found = [item for item, _ in recommender.recommend(whole.train.users.ids[user], 5)]
    assert found == [whole.train.items.ids[int(row)] for row in names]
