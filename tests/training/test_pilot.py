"""The pilot: what it tries, what it keeps, and that it goes on where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gclrec
from gclrec.common.errors import InputError
from gclrec.data.splits import make_split
from gclrec.settings.budget import num_steps
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import AUTO, METHODS, Method
from gclrec.settings.sources import layered_config
from gclrec.settings.validation import recipes_for
from gclrec.training import pilot as trials
from gclrec.training.callbacks import Pilot
from gclrec.training.estimate import estimated
from gclrec.training.pilot import _rounds, of_some_users, recipes_on, rounds_of, run_steps, trial_size
from gclrec.training.prepare import prepare, prepared_dataset

DATA = "synthetic-120x90x1500"
QUICK: dict[str, Any] = {"steps": 40, "batch_size": 128, "dim": 8, "num_layers": 1}
RECIPES: Mapping[str, Mapping[str, Any]] = {
    name: {"aug": "none", "ssl": "none", "learning_rate": rate}
    for name, rate in {"still": 1e-9, "slow": 1e-4, "good": 0.02, "wild": 1e30}.items()
}


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``auto`` choose between four learning rates, of which one is right and one diverges."""
    monkeypatch.setitem(METHODS, AUTO, Method({"pilot": 0.3}, "of a test", recipes=RECIPES))  # type: ignore[index]


@pytest.fixture(autouse=True)
def sparse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no data count as dense, so that recipes are compared."""
    monkeypatch.setattr(trials, "DENSITY", 2.0)


class Notes:
    """Notes the trials, and stops the process after some of them."""

    def __init__(self, stop: int = 99) -> None:
        self.pilots: list[Pilot] = []
        self.stop = stop

    def on_trial(self, pilot: Pilot) -> None:
        self.pilots.append(pilot)
        if len(self.pilots) == self.stop:
            raise KeyboardInterrupt


@pytest.mark.usefixtures("four")
def test_the_best_recipe_is_trained(tmp_path: Path) -> None:
    run = gclrec.fit(DATA, folder=tmp_path / "run", **QUICK)
    pilot = run.values["pilot"]
    assert pilot["recipe"] == "good"
    assert run.config.learning_rate == RECIPES["good"]["learning_rate"]
    assert run.config.pilot == 0
    assert pilot["settings"]["learning_rate"] == run.config.learning_rate
    # 0.3 x 40 steps in two rounds: of four recipes, and of the two that are left.
    assert [(trial["recipe"], trial["steps"]) for trial in pilot["trials"]][:4] == [
        (name, 2) for name in RECIPES
    ]
    assert [trial["steps"] for trial in pilot["trials"][4:]] == [3, 3]
    assert next(trial for trial in pilot["trials"] if trial["recipe"] == "wild")["value"] is None
    again = gclrec.fit(DATA, **QUICK, learning_rate=0.02, loss="bpr", aug="none", ssl="none")
    assert run.metrics == again.metrics  # the pilot leaves no trace in the training
    loaded = gclrec.load_run(tmp_path / "run")
    assert loaded.config == run.config
    assert loaded.values["pilot"] == json.loads((tmp_path / "run" / "pilot.json").read_text())


@pytest.mark.usefixtures("four")
def test_a_pilot_goes_on_where_it_stopped(tmp_path: Path) -> None:
    whole = gclrec.fit(DATA, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        gclrec.fit(DATA, folder=tmp_path / "run", callbacks=[Notes(stop=3)], **QUICK)
    notes = Notes()
    resumed = gclrec.resume(tmp_path / "run", callbacks=[notes])
    assert len(notes.pilots[0].trials) == 4  # three were kept
    assert resumed.metrics == whole.metrics
    told = [
        [(trial["recipe"], trial["steps"], trial["value"]) for trial in run.values["pilot"]["trials"]]
        for run in (resumed, whole)
    ]
    assert told[0] == told[1]


def test_a_pilot_on_large_data_sees_whole_users(monkeypatch: pytest.MonkeyPatch) -> None:
    split = make_split(prepared_dataset(layered_config({"dataset": DATA})))
    assert of_some_users(split) is split
    monkeypatch.setattr(trials, "PILOT_PAIRS", len(split.train) // 3)
    some, wide = of_some_users(split), of_some_users(split, numbered_anew=False)
    assert 0.2 < len(some.train) / len(split.train) < 0.5
    drawn = wide.train.user_degrees() > 0
    assert (wide.train.user_degrees() == split.train.user_degrees() * drawn).all()
    for part in ("train", "valid", "test"):
        few, whole = getattr(some, part), getattr(split, part)
        pairs = set(zip(whole.users.raw(whole.user), whole.items.raw(whole.item), strict=True))
        theirs = set(zip(few.users.raw(few.user), few.items.raw(few.item), strict=True))
        users = set(some.train.users.ids)
        assert theirs == {(user, item) for user, item in pairs if user in users}
        assert few.items == whole.items
    assert len(some.valid)
    assert (of_some_users(split).train.user == some.train.user).all()


def test_trials_on_a_sample_have_as_many_pairs_as_in_the_run() -> None:
    """Of a run of one pass over large data: more steps of smaller batches; never more than 800."""
    config = TrainConfig(steps=400, batch_size=40_000)
    assert [run_steps(config, 16_000_000, part) for part in (1.0, 0.5, 0.01)] == [400, 800, 800]
    assert [trial_size(config, part) for part in (1.0, 0.5, 0.01)] == [40_000, 20_000, 2048]
    assert trial_size(replace(config, batch_size=128), 0.5) == 128


def test_the_run_after_trials_on_a_sample_has_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = gclrec.fit(DATA, steps=40, dim=8)
    monkeypatch.setattr(trials, "PILOT_PAIRS", 300)
    monkeypatch.setattr(trials, "LEAST_PAIRS", 0)
    run = gclrec.fit(DATA, steps=40, dim=8)
    assert len(run.result.train) == len(whole.result.train)
    values = [[trial["value"] for trial in each.values["pilot"]["trials"]] for each in (run, whole)]
    assert values[0] != values[1]


@pytest.mark.usefixtures("four")
def test_what_is_given_is_held() -> None:
    run = gclrec.fit(DATA, **QUICK, learning_rate=0.01, aug="edge_drop:0.2")
    assert (run.config.learning_rate, run.config.aug) == (0.01, "edge_drop:0.2")
    assert run.config.ssl == "none"
    assert len(run.values["pilot"]["trials"]) == 0  # the recipes do not differ any more
    assert str(run.result.pilot).startswith("recipe still")


def test_views_that_are_given_are_contrasted() -> None:
    config = layered_config({"aug": "node_drop"}, method=AUTO)
    recipes = recipes_for(config)
    assert {recipe.aug for recipe in recipes.values()} == {"node_drop"}
    assert recipes["dense"].ssl == "infonce"
    assert recipes_for(layered_config({}, method=AUTO))["dense"].ssl == "cross_layer"


def test_auto_is_the_method_of_a_run_that_chooses_nothing(tmp_path: Path) -> None:
    assert layered_config({"epochs": 3}, auto=True).pilot > 0
    for given in ({"encoder": "mf"}, {"loss": "softmax"}, {"ssl": "none"}, {"baseline": "item_knn"}):
        assert layered_config(given, auto=True).pilot == 0
    assert layered_config({}, method="lightgcn", auto=True).pilot == 0
    assert layered_config({}).pilot == 0
    for text, pilot in (("dim = 8", 0.4), ("dim = 8\nmethod = 'sgl'", 0), ("loss = 'bpr'", 0)):
        (tmp_path / "mine.toml").write_text(text)
        assert layered_config({}, config=tmp_path / "mine.toml", auto=True).pilot == pilot


def test_recipes_that_do_not_suit_what_is_given_are_left_out() -> None:
    assert list(recipes_for(layered_config({"neighbour_form": "lightccf"}, method=AUTO))) == ["sparse"]
    with pytest.raises(InputError, match="--history-length"):
        layered_config({"history_length": 3}, method=AUTO)
    with pytest.raises(InputError, match="--held: 'colour' is not a setting"):
        layered_config({"held": ("colour",), "pilot": 0.1})


def test_nothing_to_choose_by() -> None:
    with pytest.warns(gclrec.InputWarning, match="no valid pairs"):
        run = gclrec.fit(DATA, valid_share=0, **QUICK)
    assert run.values["pilot"]["recipe"] == next(iter(METHODS[AUTO].recipes))
    assert "nothing to choose by" in str(run.result.pilot)


def test_the_rounds_and_their_cost() -> None:
    assert _rounds(9) == [9, 3]
    config = layered_config({"epochs": 3, "batch_size": 100}, method="lightgcn")
    assert num_steps(config, 1001) == 33


def test_a_damaged_pilot_is_refused(tmp_path: Path) -> None:
    gclrec.fit(DATA, folder=tmp_path / "run", **QUICK)
    path = tmp_path / "run" / "pilot.json"
    (tmp_path / "run" / "checksums.json").unlink()
    for text, why in (
        ("{", "damaged"),
        ('{"recipe": 3, "trials": [{}]}', "not of a pilot"),
        ('{"x": 1}', "pilot"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=why):
            gclrec.load_run(tmp_path / "run")


def test_tuning_auto_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="tune another method"):
        gclrec.tune(DATA, method=AUTO, trials=2, folder=tmp_path / "tuned", epochs=1)


def test_the_estimate_has_the_pilot_in_it() -> None:
    config = layered_config({"dataset": DATA, **QUICK}, method=AUTO)
    data = prepare(config, prepared_dataset(config))
    found = estimated(data)
    assert found.seconds["pilot"] > 0
    assert found.seconds["pilot"] < found.seconds["train"]


def test_a_head_start_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    recipes = {name: RECIPES[name] for name in ("slow", "good")}
    chosen = []
    for ahead in (0.0, 0.5, 99.0):
        method = Method({"pilot": 0.3}, "of a test", recipes=recipes, head_starts={"good": ahead})
        monkeypatch.setitem(METHODS, AUTO, method)  # type: ignore[index]
        pilot = gclrec.fit(DATA, method=AUTO, **QUICK).values["pilot"]
        slow, good = (trial["value"] for trial in pilot["trials"])
        assert (pilot["recipe"] == "good") == (good / (1.0 + ahead) > slow)
        chosen.append(pilot["recipe"])
    assert chosen[0] == "good"
    assert chosen[-1] == "slow"
    told = str(Pilot(tuple(pilot["trials"]), "slow", {}))
    assert told.endswith(f"beside good {good:.4f} less a head start of 9900%")


@pytest.mark.parametrize("falls", [True, False])
def test_a_run_takes_fewer_steps_where_more_are_worse(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, falls: bool
) -> None:
    """The best recipe is tried once more for twice as long, if nobody has asked for a budget."""

    def value(short: TrainConfig, *_: object) -> float:
        return 0.5 - 0.001 * num_steps(short, 1) * (1 if falls else -1) + short.learning_rate

    monkeypatch.setattr(trials, "_value", value)
    recipes = {name: {**RECIPES[name], "epochs": 10} for name in ("slow", "good")}
    method = Method({"pilot": 0.4}, "of a test", recipes=recipes)
    monkeypatch.setitem(METHODS, AUTO, method)  # type: ignore[index]
    quick = {"batch_size": 128, "dim": 8, "num_layers": 1}
    run = gclrec.fit(DATA, folder=tmp_path / "run", **quick)
    made = [(trial["recipe"], trial["steps"]) for trial in run.values["pilot"]["trials"]]
    whole = num_steps(replace(run.config, epochs=10, steps=None), len(run.split.train))
    few = round(0.1 * whole)
    assert made == [("slow", few), ("good", few), ("good", round(0.2 * whole))]
    assert (run.config.steps, run.config.epochs) == ((few, None) if falls else (None, 10))
    assert ("so the run takes" in str(run.result.pilot)) == falls
    loaded = gclrec.load_run(tmp_path / "run")
    assert loaded.config == run.config
    again = gclrec.fit(DATA, start_from=tmp_path / "run")  # its settings are read without the pilot's
    assert num_steps(again.config, len(run.split.train)) < whole
    for held in ({"epochs": 10}, {"steps": 50}):
        asked = gclrec.fit(DATA, **quick, **held)
        assert len(asked.values["pilot"]["trials"]) == 2
        assert {name: getattr(asked.config, name) for name in held} == held
    monkeypatch.setattr(trials, "PILOT_PAIRS", 300)
    monkeypatch.setattr(trials, "LEAST_PAIRS", 0)
    assert len(gclrec.fit(DATA, **quick).values["pilot"]["trials"]) == 2


def test_a_recipe_without_layer_0_is_none_for_attributes_as_input() -> None:
    names = {
        use: list(recipes_for(layered_config({"dataset": DATA, "attributes": use}, method=AUTO)))
        for use in ("none", "map", "input")
    }
    assert names == {"none": ["dense", "sparse"], "map": ["dense", "sparse"], "input": ["dense"]}


def test_with_very_many_items_there_are_no_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sample with few pairs an item ranks first says nothing; the estimate has no pilot either."""
    monkeypatch.setattr(trials, "PILOT_PAIRS", 300)
    config = layered_config({"dataset": DATA, "steps": 16, "dim": 8}, auto=True)
    assert list(recipes_on(config, 299, 10**5, 10**6)[0]) == ["dense", "sparse"]
    assert list(recipes_on(config, 301, 10**5, 60)[0]) == ["dense", "sparse"]
    assert list(recipes_on(config, 301, 10**5, 61)[0]) == ["sparse"]
    run = gclrec.fit(DATA, steps=16, dim=8)
    pilot = run.values["pilot"]
    assert (pilot["recipe"], list(pilot["trials"])) == ("sparse", [])
    assert "recipe sparse, which is for many items" in str(run.result.pilot)
    assert run.config.user_vectors == "items"
    found = estimated(prepare(config, prepared_dataset(config)))
    assert found.seconds["pilot"] == 0.0
    assert found.seconds["train"] > 0.0


def test_dense_data_are_tried_with_the_recipe_for_them_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many steps are enough is asked all the same, where that is open."""
    monkeypatch.setattr(trials, "DENSITY", 0.01)
    config = layered_config({"dataset": DATA, "dim": 8}, auto=True)
    assert list(recipes_on(config, 999, 1000, 100)[0]) == ["dense", "sparse"]
    assert list(recipes_on(config, 1000, 1000, 100)[0]) == ["dense"]
    held = layered_config({"dataset": DATA, "steps": 20, "user_vectors": "items"}, auto=True)
    assert rounds_of(config, 1, 1.0) == [2, 1]
    assert rounds_of(held, 1, 1.0) == rounds_of(config, 1, 0.5) == []
    usual = replace(config, steps=1600, batch_size=2048)
    dense = [recipes_on(usual, pairs, 5000, 3000)[0]["dense"] for pairs in (700_000, 150_000)]
    assert [recipe.steps for recipe in dense] == [3200, 30 * 150_000 // 2048]
    asked = replace(usual, held=("steps",))
    assert recipes_on(asked, 700_000, 5000, 3000)[0]["dense"].steps == 1600
    run = gclrec.fit(DATA, dim=8)
    told = [(trial["recipe"], trial["steps"]) for trial in run.values["pilot"]["trials"]]
    steps = num_steps(recipes_for(config)["dense"], len(run.split.train))
    assert told == [("dense", round(0.1 * steps)), ("dense", round(0.2 * steps))]
    assert "recipe dense, which is for dense data (" in str(run.result.pilot)
    assert not gclrec.fit(DATA, dim=8, steps=20).values["pilot"]["trials"]


def test_the_estimate_is_of_the_steps_that_the_run_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "DENSITY", 0.01)
    monkeypatch.setattr("gclrec.settings.budget.STEPS", 12)
    monkeypatch.setattr(trials, "STEPS", 12)
    monkeypatch.setattr("gclrec.settings.budget.BATCH_SIZE", 128)
    config = layered_config({"dataset": DATA, "dim": 8, "num_layers": 1, "batch_size": None}, auto=True)
    assert estimated(prepare(config, prepared_dataset(config))).steps == 24
