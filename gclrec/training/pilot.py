"""The pilot of a run: short trainings that choose its recipe on validation, by successive halving [1].

[1] Jamieson and Talwalkar, AISTATS 2016, https://proceedings.mlr.press/v51/jamieson16.html
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from gclrec.common.arrays import renumbered
from gclrec.common.errors import CollapseWarning, InputWarning
from gclrec.data.interactions import Interactions, Vocabulary
from gclrec.data.splits import Split
from gclrec.settings.budget import BATCH_SIZE, EPOCHS, STEPS, num_steps, replaced
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import AUTO, METHODS
from gclrec.settings.validation import recipes_for
from gclrec.training.callbacks import Callbacks, Pilot
from gclrec.training.results import validated
from gclrec.training.trainer import new_trainer

KEPT = 3
"""Of so many recipes the best one goes on to the next round of trials."""

PILOT_USERS = 5000
"""Users whose validation pairs a trial ranks, at most."""

PILOT_PAIRS = 500_000
"""Training pairs of a trial on large data, about: those of a sample of the users."""


LEAST_PAIRS = 5
"""Pairs an item, on average, that a sample of the users must have for trials on it to say anything."""

DENSITY = 0.01
"""Share of all pairs of users and items from which on data are dense."""

PILOT_STEPS = 800
"""Steps of a run that trials have their share of, at most."""


def chosen(config: TrainConfig, pilot: Pilot) -> TrainConfig:
    """Return the settings of a run with those of the recipe that its pilot has chosen."""
    return replace(config, pilot=0.0, held=(), **(pilot.settings or {}))


def run_pilot(
    config: TrainConfig, split: Split, events: Callbacks, begun: Pilot | None = None, **given: Any
) -> Pilot:
    """Choose a recipe on validation, and maybe fewer steps than the run would take.

    In each round the recipes that are left are trained for more steps than before, each with its schedule
    from start to end, and the best third of them goes on, until one is left; a figure counts less its head
    start (:class:`~gclrec.settings.methods.Method`). The best one is tried for longer still where
    :func:`rounds_of` says so; if that is worse, it has learned too much of small data already, and the run
    takes the steps of the trial before. The rounds have equal shares of ``config.pilot`` times the steps of
    the run, of which :data:`PILOT_STEPS` count at most. Of more than :data:`PILOT_PAIRS` training pairs,
    trials see those of a sample of the users, so the cost of the pilot does not grow with the data; with very
    many items there are no trials, and on dense data they try one recipe (:func:`recipes_on`). Equal seeds
    choose the same; a recipe whose loss becomes infinite is out.

    Args:
        config: settings with a pilot and a budget.
        split: its test part is not read.
        events: ``on_trial(pilot)`` is called after each trial.
        begun: what was done before an interruption.
        given: of :func:`~gclrec.training.trainer.new_trainer`.
    """
    train, ahead = split.train, METHODS[AUTO].head_starts
    recipes, why = recipes_on(config, len(train), train.num_users, train.num_items)
    left, trials = list(recipes), [] if begun is None else list(begun.trials)
    finals = {(trial["recipe"], trial["steps"]): trial["value"] for trial in trials}
    few = of_some_users(split, numbered_anew=all(each is None for each in given.values()))
    part = len(few.train) / max(len(train), 1)
    counts = rounds_of(config, len(recipes), part) if len(split.valid) else []
    lengths = {name: run_steps(each, len(train), part) for name, each in recipes.items()}
    for count in counts:
        share = config.pilot / len(counts) / count
        values: dict[str, float] = {}
        for name in left:
            steps = max(1, round(share * lengths[name]))
            if (name, steps) not in finals:
                events.call("on_phase_start", "pilot", len(trials) + 1, sum(counts))
                began = time.perf_counter()
                short = replaced(
                    recipes[name], {"steps": steps, "batch_size": trial_size(recipes[name], part)}
                )
                finals[name, steps] = _value(short, few, events, given)
                trial = {"recipe": name, "steps": steps, "value": finals[name, steps]}
                trials.append({**trial, "seconds": time.perf_counter() - began})
                events.call("on_trial", Pilot(tuple(trials)))
            values[name] = (finals[name, steps] or 0.0) / (1.0 + ahead.get(name, 0.0))
        left.sort(key=values.__getitem__, reverse=True)
        left = left[: -(-count // KEPT)]
    best = left[0]
    recipe = recipes[best]
    tried = sorted((steps, value or 0.0) for (name, steps), value in finals.items() if name == best)
    if counts[-1:] == [1] and len(tried) > 1 and tried[-1][1] < tried[-2][1]:
        recipe = replaced(recipe, {"steps": tried[-2][0]})
    settings = {
        name: getattr(recipe, name)
        for name in config.known
        if getattr(config, name) != getattr(recipe, name) and name not in ("pilot", "held")
    }
    pilot = Pilot(tuple(trials), best, settings, why)
    events.call("on_trial", pilot)
    return pilot


_MANY_ITEMS = "which is for many items: a sample of the data has too few pairs of each to compare others"


def recipes_on(
    config: TrainConfig, num_pairs: int, num_users: int, num_items: int
) -> tuple[dict[str, TrainConfig], str]:
    """Return the recipes that a pilot compares on such data, by name, and why if it is one alone.

    Dense data, of a share :data:`DENSITY` or more, have the recipe for them: it learns a vector for every
    user, which takes longer than a trial lasts where users have many items, and is better in the end. Where
    the budget is open and would be the usual number of steps, it is twice as many, but 30 epochs at most.

    Trials on large data see :data:`PILOT_PAIRS`. Where that is less than :data:`LEAST_PAIRS` an item, they
    learn next to nothing of an item, and what they rank first says nothing of the whole data. Then it is the
    recipe for large catalogues alone.

    Args:
        config: settings with a pilot.
        num_pairs: training pairs.
        num_users: users.
        num_items: items, those of the whole data.
    """
    recipes, dense, large = recipes_for(config), METHODS[AUTO].dense, METHODS[AUTO].large
    if dense in recipes and num_pairs >= DENSITY * num_users * num_items:
        recipe, share = recipes[dense], num_pairs / max(num_users * num_items, 1)
        if recipe.steps == STEPS and not {"epochs", "steps"}.intersection(config.held):
            most = EPOCHS * num_pairs // (recipe.batch_size or BATCH_SIZE)
            recipe = replaced(recipe, {"steps": min(2 * STEPS, most)})
        return {dense: recipe}, f"which is for dense data ({share:.1%} of all pairs)"
    thin = num_pairs > PILOT_PAIRS and LEAST_PAIRS * num_items > PILOT_PAIRS
    return ({large: recipes[large]}, _MANY_ITEMS) if thin and large in recipes else (recipes, "")


def rounds_of(config: TrainConfig, recipes: int, part: float) -> list[int]:
    """Return how many recipes each round of a pilot tries.

    The last one tries a single recipe, the best, for more steps than the round before, where it may find that
    less is better: where the budget is free, and trials see all pairs. A recipe that is the only one on such
    data, though there are others, has the same trials.

    Args:
        config: settings with a pilot.
        recipes: how many are compared.
        part: the share of the training pairs that trials see.
    """
    counts = _rounds(len(recipes_for(config)))
    free = part == 1.0 and not {"epochs", "steps"}.intersection(config.held)
    if counts and free:
        return [*counts, 1]
    return counts if recipes > 1 else []


def of_some_users(split: Split, *, numbered_anew: bool = True) -> Split:
    """Return the split of a sample of the users, drawn with its seed; the items stay.

    Args:
        split: returned as it is where it has :data:`PILOT_PAIRS` training pairs or less.
        numbered_anew: leave out the other users; with ``False`` they stay, without pairs.
    """
    share = PILOT_PAIRS / max(len(split.train), 1)
    if share >= 1:
        return split
    drawn = np.random.default_rng(split.seed).random(split.train.num_users) < share
    rows = np.flatnonzero(drawn)
    names = Vocabulary(split.train.users.raw(rows))

    def of_them(pairs: Interactions) -> Interactions:
        some = pairs.select(drawn[pairs.user])
        user = renumbered(some.user, rows, some.num_users)
        return replace(some, users=names, user=user) if numbered_anew else some

    train, valid, test = map(of_them, (split.train, split.valid, split.test))
    if not len(train) or not len(valid):
        return split
    removed = None if split.removed is None else of_them(split.removed)
    return replace(split, train=train, valid=valid, test=test, removed=removed)


def run_steps(config: TrainConfig, num_pairs: int, part: float) -> int:
    """Return the steps that trials have their share of.

    Args:
        config: settings of a recipe.
        num_pairs: training pairs of the run.
        part: the share of them that trials see.
    """
    # A run may ask for more and stop early.
    return min(round(num_steps(config, num_pairs) / part), PILOT_STEPS)


def trial_size(config: TrainConfig, part: float) -> int:
    """Return the batch size of trials on a part of the pairs: less, but not below the usual one."""
    size = config.batch_size or BATCH_SIZE
    return max(min(size, BATCH_SIZE), round(part * size))


def _rounds(recipes: int) -> list[int]:
    """Return how many recipes each round tries.

    Example:
        >>> _rounds(6), _rounds(1)
        ([6, 2], [])
    """
    counts = []
    while recipes > 1:
        counts.append(recipes)
        recipes = -(-recipes // KEPT)
    return counts


def _value(short: TrainConfig, split: Split, events: Callbacks, given: Mapping[str, Any]) -> float | None:
    """Return the validation figure of a short training, ``None`` if its loss becomes infinite."""
    users = short.ranked_users("valid", split.train.num_items)
    if users is not None:
        short = replace(short, valid_users=min(users, PILOT_USERS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # shown in the run
        warnings.simplefilter("ignore", CollapseWarning)
        trainer = new_trainer(short, split.train, **given)
        on_batch = partial(events.call, "on_batch_end") if events.wants("on_batch_end") else None
        try:
            for epoch in range(1, short.rounds + 1):
                trainer.run_epoch(epoch, on_batch)
        except FloatingPointError:
            return None
        return validated(trainer.model, split, short)[1][f"valid/{short.selected}"]
