"""What a run gives, and how its vectors are ranked and measured."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from gclrec.baselines import Scorer
from gclrec.baselines.scorers import VectorScorer
from gclrec.common.errors import CollapseWarning, InputError, InputWarning
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.data.splits import Split
from gclrec.encoders import MAP, Embeddings
from gclrec.evaluation.evaluator import Evaluation, evaluate, evaluate_ranking
from gclrec.evaluation.geometry import collapse, geometry
from gclrec.evaluation.groups import AMONG_GROUPS, figure_of
from gclrec.evaluation.ranking import top_k_among
from gclrec.evaluation.relevant import seen_by
from gclrec.graph.bipartite import BipartiteGraph
from gclrec.recall.fold_in import FoldIn
from gclrec.settings.config import TrainConfig
from gclrec.training.callbacks import Checkpoint, Pilot
from gclrec.training.model import Model

MANY_COLD = 0.1
"""Share of the held-out pairs from which on a split is one of cold start."""

TABLE_USERS = 200_000
"""Users in ``per_user.parquet``, at most; a row takes about a kilobyte while it is made."""


@dataclass(frozen=True, eq=False)
class Result:
    """A finished run, in memory.

    Args:
        config: the settings.
        split: what was trained, validated and tested on.
        ranker: final embeddings, or a baseline that ranks without vectors.
        evaluation: test figures by group, with the number of cases.
        history: the record of each epoch: losses, validation figures, geometry, seconds.
        epoch: the chosen epoch.
        validated: whether it was chosen by validation; otherwise it is the last one.
        refitted: whether the model was trained again on training and validation pairs.
        alone: the selected figure of warm items in lists without cold ones; empty where cold items are few or
            attributes are not used.
        exponent: of a calibrated score, ``None`` for others.
        geometry: alignment, uniformity and so on of the vectors; empty without vectors.
        seconds: of training and validation.
        model: the trained model, ``None`` for a baseline.
        best: the tensors of that model.
        last: the state after the last epoch, to go on from; ``None`` where a run folder has it.
        pilot: what chose the recipe; ``None`` where the settings were given.
    """

    config: TrainConfig
    split: Split
    ranker: Embeddings | Scorer
    evaluation: Evaluation
    history: Sequence[dict[str, Any]]
    epoch: int | None
    validated: bool
    refitted: bool
    seconds: float
    geometry: Mapping[str, float]
    alone: Mapping[str, float]
    exponent: float | None = None
    model: Model | None = None
    best: Mapping[str, Tensor] | None = None
    last: Checkpoint | None = None
    pilot: Pilot | None = None

    @property
    def vectors(self) -> Embeddings | None:
        """Vectors of users and items by row; the score of a pair is their inner product."""
        return vectors_of(self.ranker)

    @cached_property
    def train(self) -> Interactions:
        """The pairs that the final model was trained on."""
        return self.split.refit().train if self.refitted else self.split.train

    @cached_property
    def fold_in(self) -> FoldIn | None:
        """What gives vectors to new users and items; ``None`` without vectors."""
        if self.model is not None:
            return self.model.fold_in()
        if self.vectors is None:
            return None
        graph, solvers = BipartiteGraph.from_interactions(self.train), None
        if isinstance(self.ranker, VectorScorer):
            solvers = self.ranker.least_squares
        return FoldIn.of_vectors(graph, *(x.cpu() for x in self.vectors), least_squares=solvers)

    @property
    def values(self) -> dict[str, Any]:
        """The figures as ``result.json`` has them."""
        return {
            "epochs": self.epoch,
            "epochs_trained": sum(record["phase"] == "select" for record in self.history),
            "seconds": self.seconds,
            **({} if self.exponent is None else {"norm_exponent": self.exponent}),
            "metrics": {f"test/{name}": value for name, value in self.evaluation.values.items()},
            "cases": {f"test/{name}": count for name, count in self.evaluation.cases.items()},
            "pairs": {f"test/{name}": count for name, count in self.evaluation.pairs.items()},
            "geometry": dict(self.geometry),
            **({"alone": dict(self.alone)} if self.alone else {}),
            **({} if self.pilot is None else {"pilot": dict(vars(self.pilot))}),
            **self._sample,
        }

    @property
    def _sample(self) -> dict[str, Any]:
        """How many test users were ranked, and the standard errors, where it was a sample of them."""
        ranked = self.config.ranked_users("test", self.split.train.num_items)
        every = len(np.unique(self.split.test.user))
        if ranked is None or ranked >= every:
            return {}
        left = math.sqrt(1.0 - ranked / every)
        return {
            "test_users": {"ranked": ranked, "of": every},
            "errors": {f"test/{name}": error * left for name, error in self.evaluation.errors.items()},
        }


def finished(
    config: TrainConfig,
    split: Split,
    ranker: Embeddings | Scorer,
    history: Sequence[dict[str, Any]],
    *,
    refitted: bool,
    further: int = 0,
    further_seconds: float = 0.0,
    **others: Any,
) -> Result:
    """Rank the test part, the only time that it is read, and return the result of a run.

    Args:
        config: the settings.
        split: the split.
        ranker: final embeddings, or a fitted baseline.
        history: the record of each epoch.
        refitted: whether the validation pairs were trained on.
        further: dimensions of the vectors that :func:`shape_of` leaves out.
        further_seconds: time spent on choosing, beside that of the epochs.
        others: of :class:`Result`.
    """
    final = split.refit() if refitted else split
    vectors = vectors_of(ranker)
    evaluation = evaluate_on(ranker, final, "test", config, per_user=TABLE_USERS)
    cold = evaluation.pairs.get("cold_items", 0) / max(evaluation.pairs.get("all", 0), 1)
    concerned = vectors is not None and config.attributes != "none" and MANY_COLD <= cold < 1.0
    return Result(
        config,
        split,
        ranker,
        evaluation,
        history,
        alone=_warm_alone(vectors, final, config) if vectors is not None and concerned else {},
        refitted=refitted,
        seconds=sum((each["train_seconds"] + each["eval_seconds"] for each in history), further_seconds),
        geometry={} if vectors is None else shape_of(vectors, final.train, further),
        **others,
    )


def _warm_alone(vectors: Embeddings, split: Split, config: TrainConfig) -> dict[str, float]:
    """Return the selected figure of warm items where lists hold no cold item, as ``GROUP/METRIC@K``."""
    metric, _, cut = config.selected.rpartition("/")[2].partition("@")
    name, train, exclude = f"warm_items/{metric}@{cut}", split.train, split.no_candidates("test")
    test = ranked_of(split, "test", config).test
    users = np.unique(test.user)
    seen = seen_by(users, train, exclude)
    rows = vectors.users[torch.from_numpy(users).to(vectors.users.device)]
    candidates = np.flatnonzero(train.item_degrees() > 0)
    lists = top_k_among(rows, vectors.items, candidates, int(cut), seen=seen)
    how: Any = {"ks": (int(cut),), "metrics": (metric,), "groups": ("warm_items",), "per_user": False}
    values = evaluate_ranking(lists, users, train, test, near_cold=config.near_cold, **how).values
    return {name: values[name]} if name in values else {}


def ranked_of(split: Split, part: str, config: TrainConfig) -> Split:
    """Return the split with those users of ``valid`` or ``test`` alone that a run ranks."""
    return split.sampled(part, config.ranked_users(part, split.train.num_items))


def validation_record(ranker: Embeddings | Scorer, split: Split, config: TrainConfig) -> dict[str, float]:
    """Return the validation figures as ``metrics.jsonl`` names them, the one that chooses the epoch first."""
    users = config.ranked_users("valid", split.train.num_items)
    found = evaluate_on(ranker, split, "valid", config, per_user=False)
    values, selected = dict(found.values), figure_of(found.values, config.selected)
    if selected is None:
        group = config.selected.partition("/")[0]
        found_none = f"none of {users:,} users has a validation pair of {group}"
        raise InputError(f"--valid-users: {found_none}; take more")
    values[config.selected] = selected
    names = sorted(values, key=lambda name: name != config.selected)
    record = {f"valid/{name}": values[name] for name in names}
    every = len(np.unique(split.valid.user))
    if users is not None and users < every:
        error = found.errors.get(config.selected, 0.0) * math.sqrt(1.0 - users / every)
        record |= {f"valid_error/{config.selected}": error, "valid_users": float(users)}
    return record


def validated(model: Model, split: Split, config: TrainConfig) -> tuple[Embeddings, dict[str, float]]:
    """Rank the validation part, after calibrating a score that has an exponent.

    Returns:
        The embeddings that were ranked by, and the figures by their names in ``metrics.jsonl``.
    """
    record = model.choose_scoring(ranked_of(split, "valid", config), config.selected)
    embeddings = model.embeddings()
    return embeddings, record | validation_record(embeddings, split, config)


def evaluate_on(
    ranker: Embeddings | Scorer, split: Split, part: str, config: TrainConfig, *, per_user: bool | int = True
) -> Evaluation:
    """Rank the whole catalogue for every user with pairs in ``valid`` or ``test``, without their other items.

    Args:
        ranker: final embeddings, or a fitted baseline.
        split: its training pairs, and those that are no candidates, are left out of the lists. Where
            ``ranker`` was refitted, it is the split of the refit.
        part: ``valid`` or ``test``.
        config: cut-offs, metrics, the bound of near-cold and how many users to rank.
        per_user: build the table of single users too; a number limits it to so many users.
    """
    train, exclude = split.train, split.no_candidates(part)
    targets: Interactions = getattr(ranked_of(split, part, config), part)
    how: Any = {
        "ks": config.ks,
        "metrics": (*config.metrics, "cold_share"),
        "near_cold": config.near_cold,
        "per_user": per_user,
    }
    vectors = vectors_of(ranker)
    if vectors is not None:
        return evaluate(vectors.users, vectors.items, train, targets, exclude=exclude, **how)
    assert not isinstance(ranker, Embeddings)
    users = np.unique(targets.user).astype(np.int64)
    seen = seen_by(users, train, exclude)
    lists = ranker.top_k(users, max(config.ks), seen)
    degrees = train.item_degrees()
    members = {
        group: np.flatnonzero(found(degrees, config.near_cold)) for group, found in AMONG_GROUPS.items()
    }
    among = {
        group: ranker.top_k(users, max(config.ks), seen, rows)
        for group, rows in members.items()
        if np.isin(targets.item, rows).any()
    }
    return evaluate_ranking(lists, users, train, targets, **how, among=among)


def raw_scores(evaluation: Evaluation, users: Vocabulary) -> pl.DataFrame:
    """Return the scores of single users with their raw ids."""
    scores = evaluation.per_user
    return scores.with_columns(pl.Series("user", users.raw(scores["user"].to_numpy())))


def vectors_of(ranker: Embeddings | Scorer) -> Embeddings | None:
    """Return the vectors that a ranker scores with, ``None`` if it has none."""
    return ranker if isinstance(ranker, Embeddings) else ranker.vectors


def shape_of(vectors: Embeddings, train: Interactions, further: int = 0) -> dict[str, float]:
    """Return the geometry of vectors; the training pairs are the positive pairs.

    Args:
        vectors: of users and items.
        train: the training pairs.
        further: last dimensions to leave out, in which no item of these pairs has numbers.
    """
    if further:
        vectors = Embeddings(vectors.users[:, :-further], vectors.items[:, :-further])
    return geometry(vectors.users, vectors.items, (train.user, train.item), train.item_degrees())


def warn_of_collapse(shape: Mapping[str, float], dim: int, when: str) -> bool:
    """Issue a :class:`~gclrec.CollapseWarning` if users or items have collapsed; return whether they have.

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


def warn_of_hidden(evaluation: Evaluation, config: TrainConfig) -> None:
    """Issue an :class:`~gclrec.InputWarning` if lists leave out the cold items that attributes are to find.

    That is, if they hold less than a tenth of the places that their share of the test pairs would give them.
    """
    cold, k = evaluation.pairs.get("cold_items", 0), config.selected.rpartition("@")[2]
    held_out = cold / max(evaluation.pairs.get("all", 0), 1)
    places = evaluation.values.get(f"all/cold_share@{k}", held_out)
    if held_out < MANY_COLD or places >= held_out / 10:
        return
    found = f"cold items hold {places:.1%} of the places in lists and {held_out:.0%} of the test pairs"
    advice = "--attributes map places them by validation"
    if config.attributes == MAP:
        advice = f"{config.chosen_by} on validation is best so; --goal cold_items favours them"
    warnings.warn(f"{found}; {advice}", InputWarning, stacklevel=4)


def peak_rss_mb() -> float:
    """Return the largest resident memory of this process so far, in MiB (0 where it is not known)."""
    try:
        import resource
        import sys
    except ImportError:  # not a POSIX system
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
