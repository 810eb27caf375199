"""How every run ends, trained or fitted: figures, the shape of its vectors, and the files that hold them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from gclrec.baselines import Scorer
from gclrec.common.errors import CollapseWarning
from gclrec.common.ragged import Ragged
from gclrec.data.interactions import Interactions
from gclrec.data.splits import Split
from gclrec.encoders import Embeddings
from gclrec.evaluation.evaluator import Evaluation, evaluate, evaluate_ranking
from gclrec.evaluation.geometry import collapse, geometry
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.runs.embeddings import write_embeddings
from gclrec.runs.folder import RunFolder
from gclrec.settings.config import TrainConfig


@dataclass
class Result:
    """What a run gave.

    Args:
        values: what ``train --json`` prints.
        evaluation: test figures by group, with the number of cases.
        validated: whether there was anything to choose the epoch by.
    """

    values: dict[str, Any]
    evaluation: Evaluation
    validated: bool


def finish(
    config: TrainConfig,
    folder: RunFolder,
    split: Split,
    ranker: Embeddings | Scorer,
    *,
    fold_in: FoldIn | None = None,
    epochs: int | None,
    refitted: bool,
    validated: bool,
    exponent: float | None = None,
    further_seconds: float = 0.0,
) -> Result:
    """Rank the test part, the one time that it is read, and write vectors and figures.

    Args:
        config: the settings.
        folder: the run folder, whose ``metrics.jsonl`` is complete.
        split: its split.
        ranker: final embeddings, or a fitted baseline.
        fold_in: what an encoder keeps for new users and items; made from the vectors alone if ``None``.
        epochs: the chosen number of epochs.
        refitted: whether the validation pairs were trained on.
        validated: whether there was anything to choose the epoch by.
        exponent: that of a calibrated score, to be written down.
        further_seconds: what went into choosing beside the epochs of ``metrics.jsonl``.
    """
    whole, split = split, split.refit() if refitted else split
    train = split.train
    vectors = vectors_of(ranker)
    if vectors is not None:
        fold_in = fold_in or FoldIn.of_vectors(
            BipartiteGraph.from_interactions(train), vectors.users.cpu(), vectors.items.cpu()
        )
        parts = ("train", folder.joined(whole)) if refitted else ("train",)
        replace(fold_in, trained_on=parts).save(folder.path / "fold_in")
        write_embeddings(
            folder.path / "embeddings",
            user_ids=train.users,
            user_vectors=vectors.users.cpu().numpy(),
            user_degrees=train.user_degrees(),
            item_ids=train.items,
            item_vectors=vectors.items.cpu().numpy(),
            item_degrees=train.item_degrees(),
        )
    figures = evaluate_on(ranker, split, "test", config)
    lines = folder.metrics()
    values = {
        "run": str(folder.path),
        "epochs": epochs,
        "epochs_trained": sum(line["phase"] == "select" for line in lines),
        "seconds": sum((line["train_seconds"] + line["eval_seconds"] for line in lines), further_seconds),
        **({} if exponent is None else {"norm_exponent": exponent}),
        "metrics": {f"test/{name}": value for name, value in figures.values.items()},
        "cases": {f"test/{name}": count for name, count in figures.cases.items()},
        "geometry": {} if vectors is None else shape_of(vectors, train),
    }
    raw = train.users.raw(figures.per_user["user"].to_numpy())
    folder.write_result(values, figures.per_user.with_columns(pl.Series("user", raw)))
    return Result(values, figures, validated=validated)


def validation_record(ranker: Embeddings | Scorer, split: Split, config: TrainConfig) -> dict[str, float]:
    """Return the validation figures as ``metrics.jsonl`` names them; what chooses the epoch stands first."""
    values = evaluate_on(ranker, split, "valid", config).values
    names = sorted(values, key=lambda name: name != config.selected)
    return {f"valid/{name}": values[name] for name in names}


def evaluate_on(
    ranker: Embeddings | Scorer,
    split: Split,
    part: str,
    config: TrainConfig,
) -> Evaluation:
    """Rank the whole catalogue for every user with pairs in ``valid`` or ``test``, what else he has left out.

    Where ``ranker`` was refitted, ``split`` is that of the refit.
    """
    train, targets, exclude = split.train, getattr(split, part), split.no_candidates(part)
    vectors = vectors_of(ranker)
    if vectors is not None:
        return evaluate(
            vectors.users,
            vectors.items,
            train,
            targets,
            ks=config.ks,
            metrics=config.metrics,
            near_cold=config.near_cold,
            exclude=exclude,
        )
    assert not isinstance(ranker, Embeddings)
    known = [train] if exclude is None else [train, exclude]
    user, item = (np.concatenate([getattr(part, side) for part in known]) for side in ("user", "item"))
    users = np.unique(targets.user)
    seen = Ragged.from_pairs(user, item, train.num_users).take(users)
    return evaluate_ranking(
        ranker.top_k(users, max(config.ks), seen).numpy(),
        users,
        train,
        targets,
        ks=config.ks,
        metrics=config.metrics,
        near_cold=config.near_cold,
    )


def vectors_of(ranker: Embeddings | Scorer) -> Embeddings | None:
    """Return the vectors that a ranker scores with, ``None`` if it has none."""
    return ranker if isinstance(ranker, Embeddings) else ranker.vectors


def shape_of(vectors: Embeddings, train: Interactions) -> dict[str, float]:
    """Return the geometry of vectors; the training pairs are the positive pairs."""
    return geometry(vectors.users, vectors.items, (train.user, train.item), train.item_degrees())


def warn_of_collapse(shape: Mapping[str, float], dim: int, when: str) -> bool:
    """Say with a :class:`~gclrec.CollapseWarning` what has collapsed; return whether anything has.

    Args:
        shape: what :func:`shape_of` returned.
        dim: length of the vectors that are ranked by.
        when: such as ``"epoch 3"``.
    """
    found = collapse(shape, dim)
    if found is None:
        return False
    advice = "all users are shown nearly the same items; try other negatives, a smaller --learning-rate"
    warnings.warn(f"{when}: {found}; {advice} or fewer layers", CollapseWarning, stacklevel=3)
    return True


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far, in MiB (0 where it is not known)."""
    try:
        import resource
        import sys
    except ImportError:  # not a POSIX system
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
