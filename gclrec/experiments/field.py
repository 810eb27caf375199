"""The field: methods that a recommender has to be better than, each tuned with the same number of trials."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from gclrec.common.errors import InputWarning, NothingToTuneError, TooLargeError
from gclrec.data.interactions import Dataset
from gclrec.experiments.comparison import ComparisonFolder, Plan, folder_name
from gclrec.experiments.parallel import Workers
from gclrec.experiments.search import Search, make_search, short
from gclrec.experiments.summary import Rows
from gclrec.experiments.tuning import Tuning
from gclrec.settings.budget import replaced
from gclrec.settings.methods import METHODS
from gclrec.training.prepare import new_split, prepare

FIELD = (
    *("popularity", "item_knn", "pure_svd", "gf_cf", "rp3beta", "ease", "ials"),
    *("lightgcn", "bsl_lightgcn", "xsimgcl"),
)
"""Methods that ``against_field`` adds to a comparison."""


def searches_of(plan: Plan, held: Callable[[str], Collection[str]], trials: int) -> dict[str, Search]:
    """Return the search of each variant of a plan that has something to tune.

    Args:
        plan: the runs, one grid point a variant.
        held: from a variant to the names of settings that stay as they are.
        trials: number of trials of each.

    Raises:
        InputError: there is nothing to select by, or the number of trials is out of range.
    """
    found = {}
    for name in plan.variants:
        config = next(cell.config for cell in plan.cells if cell.variant == name)
        config = dataclasses.replace(config, seed=plan.common.seed, refit=False, tensorboard=False)
        method = name if name in METHODS else None
        try:
            found[name] = make_search(config, method, given=held(name), trials=trials)
        except NothingToTuneError:
            continue
    return found


def tune_field(
    plan: Plan,
    searches: Mapping[str, Search],
    folder: ComparisonFolder,
    dataset: Dataset,
    *,
    callbacks: Iterable[object] = (),
    workers: Workers | None = None,
) -> tuple[Plan, dict[str, Tuning]]:
    """Tune every variant on validation, and return the runs with the best settings; test pairs are not read.

    The trials are kept in ``tuning/VARIANT``, so that an interrupted comparison goes on. A method that the
    data is too large for is left out with an :class:`~gclrec.InputWarning`.

    Args:
        plan: the runs with the settings given.
        searches: of :func:`searches_of`.
        folder: of the comparison.
        dataset: as :func:`~gclrec.training.prepare.prepared_dataset` returns it.
        callbacks: see :func:`~gclrec.experiments.search.run_trials`.
        workers: where to train; likewise.

    Raises:
        InputError: the folder holds trials of other settings, or Optuna is not installed.
    """
    callbacks, split, tunings, best = tuple(callbacks), new_split(plan.common, dataset), {}, {}
    for name, search in searches.items():
        tuning = Tuning(search, folder.path / "tuning" / Path(folder_name([name])))
        content = tuning.begun()
        if content is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InputWarning)  # about the data: shown with the first run
                content = prepare(search.config, dataset, split)
        try:
            with tuning.study(content) as study:
                tunings[name] = tuning.run(study, content, callbacks=callbacks, label=name, workers=workers)
        except TooLargeError as error:
            warnings.warn(f"{name} is left out of the field: {error}", InputWarning, stacklevel=2)
            plan = plan.without(name)
            continue
        best[name] = {} if tuning.winner is None else tuning.best
    cells = [
        dataclasses.replace(cell, config=replaced(cell.config, best.get(cell.variant, {})))
        for cell in plan.cells
    ]
    return dataclasses.replace(plan, cells=tuple(cells)), tunings


def tuned_rows(tunings: Mapping[str, Tuning]) -> Rows:
    """Return headings and rows of what tuning has changed; no rows if nothing was tuned."""
    select = next((tuning.search.config.chosen_by for tuning in tunings.values()), "")
    heads = ["tuned", "trials", "seconds", f"validation {select}, as given", "best", "settings"]
    rows = []
    for name, tuning in tunings.items():
        first, best = tuning.done[0], tuning.winner
        values = [
            "-" if trial is None or trial.value is None else f"{trial.value:.4f}" for trial in (first, best)
        ]
        chosen = {} if best is None else best.settings
        settings = ", ".join(f"{key.replace('_', '-')} {short(value)}" for key, value in chosen.items())
        seconds = sum(trial.seconds for trial in tuning.done)
        rows.append([name, str(len(tuning.done)), f"{seconds:.0f}", *values, settings or "-"])
    return heads, rows
