"""How long a run trains: a budget of steps, or epochs."""

from __future__ import annotations

import pytest

from gclrec.common.errors import InputError
from gclrec.settings.budget import budgeted, replaced
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.sources import layered_config
from gclrec.settings.validation import validate


@pytest.mark.parametrize(
    ("given", "pairs", "expected"),
    [
        ({}, 70_000, (30, None, 2048)),  # small data: as before there were budgets
        ({}, 109_226, (30, None, 2048)),
        ({}, 109_227, (None, 1600, 2048)),  # from here on 30 epochs are more than 1,600 steps
        ({}, 1_000_000, (None, 1600, 2500)),
        ({}, 3_000_000, (None, 533, 7500)),  # from a million on the steps shrink, down to 400
        ({}, 70_000_000, (None, 400, 175_000)),
        ({"batch_size": 512}, 3_000_000, (30, None, 512)),
        ({"epochs": 4}, 3_000_000, (4, None, 2048)),
        ({"steps": 1000}, 1_000, (None, 1000, 2048)),
        ({"steps": 1000}, 600_001, (None, 1000, 2401)),  # 4 passes, rounded up
        ({"steps": 1000, "batch_size": 128}, 600_001, (None, 1000, 128)),
    ],
)
def test_batches_follow_from_steps_and_pairs(
    given: dict[str, int], pairs: int, expected: tuple[int | None, int | None, int]
) -> None:
    config = budgeted(TrainConfig(**given), pairs)
    assert (config.epochs, config.steps, config.batch_size) == expected
    assert budgeted(config, 10 * pairs) == config  # settled, as for a refit


def test_propagation_in_half_precision_follows_from_the_pairs_unless_it_is_given() -> None:
    assert budgeted(TrainConfig(), 1_000_000).precision == "single"
    large = budgeted(TrainConfig(), 1_000_001)
    assert large.precision == "half_propagation"
    assert budgeted(large, 1000) == large
    assert budgeted(TrainConfig(precision="single"), 10**8).precision == "single"


def test_large_data_are_validated_every_other_round() -> None:
    assert budgeted(TrainConfig(), 1_000_000).eval_every == 1
    assert budgeted(TrainConfig(), 1_000_001).eval_every == 2
    assert budgeted(TrainConfig(eval_every=1), 1_000_001).eval_every == 1
    assert budgeted(TrainConfig(epochs=3), 10**8).eval_every == 1


def test_a_budget_has_eight_rounds_or_as_many_as_steps() -> None:
    assert TrainConfig(steps=1600).rounds == 8
    assert TrainConfig(steps=3).rounds == 3
    assert TrainConfig(epochs=5).rounds == 5


def test_epochs_and_steps_take_the_place_of_each_other() -> None:
    with pytest.raises(InputError, match="--steps: a run has either"):
        validate(TrainConfig(epochs=3, steps=100))
    recipe = layered_config({}, method="gcl_sparse")
    assert (recipe.steps, recipe.epochs) == (METHODS["gcl_sparse"].settings["steps"], None)
    shorter = layered_config({"epochs": 2}, method="gcl_sparse")
    assert (shorter.steps, shorter.epochs) == (None, 2)
    budget = layered_config({}, config={"steps": 50}, method="lightgcn")
    assert (budget.steps, budget.epochs) == (50, None)
    with pytest.raises(InputError, match="--steps"):
        layered_config({}, config={"steps": 50, "epochs": 2})
    assert replaced(recipe, {"epochs": 7}).steps is None
    assert replaced(recipe, {"epochs": None, "dim": 8}).steps == recipe.steps


def test_published_models_keep_their_epochs() -> None:
    """Only gclrec's own have a budget; no other figure depends on the size of the data."""
    lengths = {
        name: method.settings.get("epochs")
        for name, method in METHODS.items()
        if "baseline" not in method.settings
    }
    assert {name for name, epochs in lengths.items() if epochs is None} == {"auto", "gcl_sparse"}


@pytest.mark.parametrize(
    ("settings", "what"),
    [
        ({"encoder": "mf", "aug": "none"}, "mf propagates over no edges"),
        ({"encoder": "sage"}, "sage takes whole graphs"),
    ],
)
def test_a_sample_of_edges_needs_an_encoder_that_propagates(settings: dict[str, str], what: str) -> None:
    with pytest.raises(InputError, match=f"--sample-edges: {what}"):
        validate(TrainConfig(sample_edges=0.5, **settings))
    with pytest.raises(InputError, match="--sample-edges: must be"):
        validate(TrainConfig(sample_edges=0.0))
