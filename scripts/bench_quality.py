"""Measure time to quality: training seconds until a share of the best validation figure is reached."""

from __future__ import annotations

import dataclasses
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench_common import show, use_threads

from gclrec.api import fit_prepared
from gclrec.data.catalog.loader import prepared_dataset
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.sources import layered_config
from gclrec.training.prepare import prepare


class Curve:
    """Callback that records the training seconds so far and the validation figure of every epoch.

    The seconds of a refit are kept apart.
    """

    def __init__(self, figure: str) -> None:
        self.figure = f"valid/all/{figure}"
        self.seconds = self.refit_seconds = 0.0
        self.points: list[tuple[int, float, float]] = []

    def on_epoch_end(self, record: dict[str, Any], best_epoch: int | None) -> None:  # noqa: ARG002
        """Record an epoch."""
        if record["phase"] != "select":
            self.refit_seconds += record["train_seconds"]
            return
        self.seconds += record["train_seconds"]
        if self.figure in record:
            self.points.append((record["epoch"], self.seconds, record[self.figure]))

    def seconds_to(self, value: float) -> float | None:
        """Return the seconds of training after which validation first reached a value."""
        return next((seconds for _, seconds, found in self.points if found >= value), None)


def time_to_quality(
    recipes: tuple[str, ...] = ("lightgcn", "gf_cf"),
    /,
    *,
    dataset: str = "gowalla",
    epochs: int | None = None,
    shares: tuple[float, ...] = (0.9, 0.95, 0.99, 1.0),
    goals: tuple[float, ...] = (),
    seed: int = 0,
    threads: int | None = None,
    runs: Path | None = None,
) -> None:
    """Train recipes and report the validation figure over the seconds of training.

    The epoch is chosen on validation; the test part is read once, at that epoch, after a second training on
    all pairs where the recipe says refit=true. Seconds are those of training alone; those of validation are
    reported separately. One recipe with several numbers of epochs gives its quality over time.

    Args:
        recipes: names in METHODS, or TOML files of settings as --config takes them; behind a name settings
            may follow, such as lightgcn:init=spectral:batch_size=8192.
        dataset: catalogue name or file.
        epochs: maximum number; that of the recipe if not given.
        shares: of the best validation figure of the same recipe.
        goals: validation figures to be reached, whatever the recipe's best.
        seed: of start, batches and split.
        threads: PyTorch threads; all cores if not given.
        runs: where the run folders are kept; a temporary folder if not given.
    """
    use_threads(threads)
    result: dict[str, Any] = {"benchmark": "time-to-quality", "dataset": dataset, "seed": seed, "recipes": {}}
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for recipe in recipes:
            config = recipe_config(recipe, dataset=dataset, seed=seed, epochs=epochs)
            name = "".join(c if c.isalnum() else "_" for c in recipe.removesuffix(".toml"))
            found = run_recipe(config, (runs or Path(temporary)) / name, shares, goals)
            result["recipes"][recipe] = found
            rows.append(
                (
                    recipe,
                    f"{found['best_epoch']} of {found['epochs_trained']}",
                    f"{found['best_value']:.4f}",
                    *(_seconds(found["seconds_to_share"][str(share)]) for share in shares),
                    *(_seconds(found["seconds_to_goal"][str(goal)]) for goal in goals),
                    f"{found['seconds']:.1f}",
                    _seconds(found["refit_seconds"]),
                    f"{found['test'][config.select]:.4f}",
                )
            )
    columns = (
        "recipe",
        "epoch",
        "validation",
        *(f"s to {share:.0%}" for share in shares),
        *(f"s to {goal:g}" for goal in goals),
        "s in all",
        "s of refit",
        f"test {TrainConfig().select}",
    )
    show(f"{dataset}: seconds of training until validation was so good", columns, rows, result)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def recipe_config(recipe: str, **given: Any) -> TrainConfig:
    """Return the settings of a TOML file, or of ``METHOD:SETTING=VALUE:...``."""
    if recipe.endswith(".toml"):
        return layered_config(given, config=recipe)
    name, *pairs = recipe.split(":")
    if name not in METHODS:
        raise SystemExit(f"{recipe}: expected a TOML file or a method, one of {', '.join(METHODS)}")
    named = (pair.partition("=") for pair in pairs)
    settings = {key.replace("-", "_"): _typed(key.replace("-", "_"), value) for key, _, value in named}
    return layered_config(given, config=settings, method=name)


def _typed(key: str, value: str) -> Any:
    default = next((f.default for f in dataclasses.fields(TrainConfig) if f.name == key), None)
    if isinstance(default, bool):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def run_recipe(
    config: TrainConfig, path: Path, shares: tuple[float, ...], goals: tuple[float, ...]
) -> dict[str, Any]:
    """Train one recipe and return its curve, the seconds to each share and goal, and the test figures."""
    data = prepare(config, prepared_dataset(config))
    if not len(data.split.valid):
        raise SystemExit(f"{config.dataset}: the split has no validation pairs to choose the epoch by")
    curve = Curve(config.select)
    values = fit_prepared(data, folder=path, callbacks=[curve]).values
    epoch, _, best = max(curve.points, key=lambda point: point[2])
    print(f"{path.name}: epoch {epoch}, validation {best:.4f}", file=sys.stderr)
    test = {
        name.removeprefix("test/all/"): value
        for name, value in values["metrics"].items()
        if name.startswith("test/all/")
    }
    return {
        "best_epoch": epoch,
        "best_value": best,
        "epochs_trained": values["epochs_trained"],
        "seconds": values["seconds"],
        "refit_seconds": curve.refit_seconds or None,
        "seconds_to_share": {str(share): curve.seconds_to(share * best) for share in shares},
        "seconds_to_goal": {str(goal): curve.seconds_to(goal) for goal in goals},
        "curve": curve.points,
        "test": test,
        "settings": config.to_dict(),
    }
