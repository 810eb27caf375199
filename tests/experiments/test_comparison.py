"""What a comparison plans: which runs, under which names, with which settings; and how it chooses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from urllib.parse import unquote

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from gclrec.common.errors import InputError
from gclrec.experiments.comparison import ComparisonFolder, Plan, choose, folder_name, make_plan
from gclrec.settings.config import TrainConfig
from gclrec.settings.methods import METHODS
from gclrec.settings.search_space import idle_settings
from gclrec.views.views import VIEWS

SMALL = TrainConfig(epochs=2, dim=8)


def test_variants_seeds_and_names() -> None:
    plan = make_plan(SMALL, augs=["none", "edge_drop:0.2", "edge_drop/random_walk"], num_seeds=2)
    assert [cell.name for cell in plan.cells] == [
        "none__seed=0",
        "none__seed=1",
        "edge_drop%3A0.2__seed=0",
        "edge_drop%3A0.2__seed=1",
        "edge_drop%2Frandom_walk__seed=0",
        "edge_drop%2Frandom_walk__seed=1",
    ]
    assert [cell.config.aug for cell in plan.cells[::2]] == ["none", "edge_drop:0.2", "edge_drop,random_walk"]
    assert {cell.config.split_seed for cell in plan.cells} == {0}  # one split, so that users are paired
    assert [cell.config.seed for cell in plan.cells] == [0, 1, 0, 1, 0, 1]
    assert (plan.against, plan.claim, plan.seeds) == ("none", "recall@20", (0, 1))


VARIANTS = [
    "a/b",
    "a,b",
    "a_b",
    "a b",
    "a__b",
    "_a",
    "a_",
    "τ",
    "λ",
    ".",
    "a%2Fb",
    "x__dim=8",
    "x",
    "A:1",
    "../up",
]


def test_every_variant_has_a_folder_of_its_own() -> None:
    """Whatever they are called; the name says what is inside."""
    named = {name: {"l2_weight": 10.0**-n} for n, name in enumerate(VARIANTS, start=1)}
    plan = make_plan(SMALL, named=named, grid=["dim=8,16"], num_seeds=2, fractions=[1.0, 0.5])
    names = [cell.name for cell in plan.cells]
    assert len(set(names)) == len(names) == len(VARIANTS) * 2 * 2 * 2
    for cell in plan.cells:
        assert Path(cell.name).name == cell.name
        assert not cell.name.startswith(".")
        read = [unquote(part) for part in cell.name.split("__")]
        assert read == [
            *(cell.variant, cell.setting),
            *(f"train-fraction={cell.fraction:g}", f"seed={cell.seed}"),
        ]


@given(st.lists(st.text(min_size=1, max_size=9), min_size=1, max_size=4))
@settings(deadline=None)
def test_folder_names_can_be_read_back(parts: list[str]) -> None:
    assert [unquote(part) for part in folder_name(parts).split("__")] == parts


def test_a_run_of_before_is_used_if_its_settings_are_the_same(tmp_path: Path) -> None:
    """Version 0.1.0 had one folder for both variants; whose it is stands in its settings."""
    small = dataclasses.replace(SMALL, batch_size=64, eval_every=1, precision="single")
    plan = make_plan(small, named={"a/b": {"dim": 4}, "a,b": {"dim": 16}}, num_seeds=1)
    folder, (mine, other) = ComparisonFolder(tmp_path), plan.cells
    assert mine.former_name == other.former_name == "a,b__seed=0"
    former = tmp_path / "runs" / "a,b__seed=0"
    former.mkdir(parents=True)
    (former / "config.toml").write_text(tomli_w.dumps(mine.config.to_dict()))
    assert folder.run(mine).path == former
    folder.begin(plan)
    with pytest.raises(InputError, match="holds runs with --dim 4, now 16 is asked for"):
        folder.check(plan)  # the second variant has the name itself
    plan = make_plan(small, named={"a b": {"dim": 4}, "a:b": {"dim": 16}}, num_seeds=1)
    former.rename(former.with_name("a_b__seed=0"))
    folder.check(plan)
    assert [folder.run(cell).path.name for cell in plan.cells] == ["a_b__seed=0", "a%3Ab__seed=0"]


def test_what_a_killed_process_was_writing_is_no_content(tmp_path: Path) -> None:
    plan, folder = make_plan(SMALL, num_seeds=1), ComparisonFolder(tmp_path)
    (tmp_path / ".comparison.json.x1y2").mkdir()
    folder.check(plan)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="holds no comparison"):
        folder.check(plan)


def test_first_seed_and_split_seed() -> None:
    moved = TrainConfig(seed=10)
    assert make_plan(moved, num_seeds=2).seeds == (10, 11)
    assert {cell.config.split_seed for cell in make_plan(moved).cells} == {10}
    kept = TrainConfig(seed=10, split_seed=3)
    assert {cell.config.split_seed for cell in make_plan(kept).cells} == {3}


def test_methods_stand_beside_augmentations_and_give_way_to_what_was_asked() -> None:
    plan = make_plan(
        TrainConfig(temperature=0.5), augs=["none"], methods=["xsimgcl", "item_knn"], num_seeds=1,
        given=frozenset({"temperature"}),
    )  # fmt: skip
    none, xsimgcl, knn = (cell.config for cell in plan.cells)
    assert (none.aug, none.layer_weights) == ("none", "mean")
    assert (xsimgcl.ssl, xsimgcl.layer_weights, xsimgcl.temperature) == (
        "cross_layer",
        "mean_without_0",
        0.5,
    )
    assert knn.baseline == "item_knn"
    own = make_plan(TrainConfig(), methods=["xsimgcl", "sgl"], num_seeds=1)
    assert own.cells[0].config.temperature == METHODS["xsimgcl"].settings["temperature"]


def test_variants_of_ones_own() -> None:
    """What a variant says goes before what was asked of all, and that before a method's own settings."""
    plan = make_plan(
        TrainConfig(temperature=0.5, dim=8),
        named={
            "plain": {"aug": "none"},
            "two views": {
                "ssl-weight": 1,
                "loss_temperature": "adaptive:0.2",
                "logq": True,
                "loss": "softmax",
            },
            "mine": {"method": "xsimgcl", "dim": 16},
            "no contrast": {"method": "xsimgcl", "ssl": "none"},
        },
        num_seeds=1,
        against="plain",
        given=frozenset({"temperature", "dim"}),
    )
    plain, views, mine, bare = (cell.config for cell in plan.cells)
    assert plan.variants == ("plain", "two views", "mine", "no contrast")
    assert [cell.name for cell in plan.cells][1] == "two%20views__seed=0"
    assert (plain.aug, plain.dim) == ("none", 8)
    assert (views.ssl_weight, views.loss_temperature, views.logq) == (1.0, "adaptive:0.2", True)
    assert (mine.layer_weights, mine.temperature, mine.dim) == ("mean_without_0", 0.5, 16)
    assert (bare.ssl, bare.layer_weights, bare.dim) == ("none", "mean_without_0", 8)


def test_a_variant_may_choose_its_epoch_by_a_figure_of_its_own(tmp_path: Path) -> None:
    common = dataclasses.replace(SMALL, select="cold_items/recall@20")
    plan = make_plan(common, named={"ids": {"select": "ndcg@20"}, "fields": {"dim": 16}}, num_seeds=1)
    assert [cell.config.select for cell in plan.cells] == ["ndcg@20", "cold_items/recall@20"]
    lines = [{"phase": "select", "epoch": 1, "valid/all/ndcg@20": 0.5, "valid/cold_items/recall@20": 0.25}]
    folder = ComparisonFolder(tmp_path)
    for cell in plan.cells:
        run = folder.run(cell)
        run.path.mkdir(parents=True)
        (run.path / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    rows = choose(plan, folder)[1]
    assert [(row["select"], row["validation"]) for row in rows] == [
        ("ndcg@20", 0.5),
        ("cold_items/recall@20", 0.25),
    ]


def test_a_grid_tries_only_what_matters() -> None:
    """Without contrast its settings are idle: there is one run, not four that are the same."""
    plan = make_plan(
        SMALL,
        augs=["none", "edge_drop", "edge_drop:0.4"],
        methods=["item_knn"],
        grid=["aug-p=0.1,0.3", "temperature=0.1,0.2"],
        num_seeds=1,
    )
    settings = {name: [c.setting for c in plan.cells if c.variant == name] for name in plan.variants}
    assert settings == {
        "none": [""],
        "edge_drop": [f"aug-p={p}, temperature={t}" for p in (0.1, 0.3) for t in (0.1, 0.2)],
        "edge_drop:0.4": ["temperature=0.1", "temperature=0.2"],
        "item_knn": [""],
    }
    assert len({cell.name for cell in plan.cells}) == len(plan.cells) == 8
    typed = make_plan(SMALL, grid=["num-layers=1,2", "logq=false", "loss=bpr"], num_seeds=1)
    assert {cell.config.num_layers for cell in typed.cells} == {1, 2}
    assert {cell.config.logq for cell in typed.cells} == {False}


@pytest.mark.parametrize("aug", VIEWS)
def test_every_view_but_none_makes_contrast_count(aug: str) -> None:
    idle = idle_settings(TrainConfig(aug=aug))
    assert ("temperature" in idle) == (aug == "none")
    assert "temperature" not in idle_settings(TrainConfig(aug=aug, ssl="cross_layer"))
    assert ("aug_p" in idle_settings(TrainConfig(aug=aug, ssl="byol"))) == (aug in ("none", "svd"))


def test_settings_of_baselines_are_idle_without_one() -> None:
    assert {"rank", "shrink"} <= idle_settings(TrainConfig()) & idle_settings(TrainConfig(aug="none"))
    assert {"rank", "dim", "seed"}.isdisjoint(idle_settings(TrainConfig(baseline="gf_cf")) - {"dim"})


def test_shares_of_the_training_pairs() -> None:
    plan = make_plan(SMALL, fractions=[0.1, 1.0], num_seeds=1)
    assert plan.fractions == (1.0, 0.1)
    assert [cell.name for cell in plan.cells][:2] == [
        "none__train-fraction=0.1__seed=0",
        "edge_drop__train-fraction=0.1__seed=0",
    ]
    assert {cell.config.train_fraction for cell in plan.cells} == {1.0, 0.1}


def test_shares_are_trained_for_as_many_steps() -> None:
    """A quarter of the pairs, four times the epochs; what the grid chooses from is multiplied too."""
    common = dataclasses.replace(SMALL, epochs=6, eval_every=2)
    plan = make_plan(common, fractions=[1.0, 0.25], grid=["epochs=6,10"], num_seeds=1, same_steps=True)
    found = {(cell.fraction, cell.setting, cell.config.epochs, cell.config.eval_every) for cell in plan.cells}
    assert found == {
        (1.0, "epochs=6", 6, 2),
        (1.0, "epochs=10", 10, 2),
        (0.25, "epochs=6", 24, 8),
        (0.25, "epochs=10", 40, 8),
    }


BAD = {
    "two variants": {"augs": ["none"]},
    "--test-share: 0 leaves no test pairs": {"common": dataclasses.replace(SMALL, test_share=0.0)},
    "--seeds": {"num_seeds": 0},
    "--against: 'noise'": {"against": "noise"},
    "--claim: 'recall@7'": {"claim": "recall@7"},
    "--methods: 'best'": {"methods": ["best"]},
    "named twice": {"grid": ["temperature=1", "temperature=2"]},
    "NAME=VALUE": {"grid": ["temperature"]},
    "nothing to choose on validation": {"grid": ["split=random"]},
    "found 'warm', expected a number": {"grid": ["ssl-weight=0.1,warm"]},
    "found '2.5', expected a whole number": {"grid": ["dim=2.5"]},
    "expected true or false": {"grid": ["logq=1"]},
    "--temperature: must be above 0": {"grid": ["temperature=0.1,-1"]},
    "'edge_drip' is not known": {"augs": ["none", "edge_drip"]},
    "--train-fraction": {"fractions": [2.0]},
    "variant 'a': unknown setting 'dims'": {"named": {"a": {"dims": 8}}},
    "variant 'a': all runs share 'split'": {"named": {"a": {"split": "random"}}},
    "variant 'a': all runs share 'seed'": {"named": {"a": {"seed": 1}}},
    "variant 'a': all runs share 'near-cold'": {"named": {"a": {"near-cold": 1}}},
    "found 'wide', expected a whole number": {"named": {"a": {"dim": "wide"}}},
    "variant 'a': 'dim' has one value": {"named": {"a": {"dim": [8, 16]}}},
    "variant 'a': found 3, expected a table": {"named": {"a": 3}},
    "variant 'a': 'best' is not one of": {"named": {"a": {"method": "best"}}},
    "a: --temperature: must be above 0": {"named": {"a": {"temperature": -1.0}}},
    "'none' is named twice": {"named": {"none": {"dim": 16}}},
}


@pytest.mark.parametrize("message", BAD)
def test_what_cannot_be_planned(message: str) -> None:
    arguments: dict[str, object] = {"common": SMALL, "augs": ["none", "edge_drop"], **BAD[message]}
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        make_plan(**arguments)  # type: ignore[arg-type]


def written(tmp_path: Path, plan: Plan, figures: dict[str, tuple[float, float]]) -> ComparisonFolder:
    """Write what runs leave behind: a validation figure in metrics.jsonl and a test figure."""
    folder = ComparisonFolder(tmp_path)
    for cell in plan.cells:
        path = folder.run(cell).path
        path.mkdir(parents=True)
        valid, test = figures[cell.setting]
        lines = [
            {"phase": "select", "epoch": n + 1, "valid/all/recall@20": v} for n, v in ((0, valid), (1, 0))
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (path / "result.json").write_text(json.dumps({"metrics": {"test/all/recall@20": test}}))
    return folder


def test_settings_are_chosen_on_validation_alone(tmp_path: Path) -> None:
    """The point that is best on validation is worst on test; it is taken all the same."""
    plan = make_plan(SMALL, grid=["temperature=0.1,0.2,0.3"], num_seeds=2)
    figures = {"": (0.3, 0.3), "temperature=0.1": (0.1, 0.9), "temperature=0.2": (0.4, 0.0)}
    folder = written(tmp_path, plan, {**figures, "temperature=0.3": (0.2, 0.8)})
    chosen, rows = choose(plan, folder)
    assert chosen == {
        (1.0, "none"): "",
        (1.0, "edge_drop"): "temperature=0.2",
        (1.0, "node_drop"): "temperature=0.2",
    }
    assert [row["validation"] for row in rows] == pytest.approx([0.3, 0.1, 0.4, 0.2, 0.1, 0.4, 0.2])


def test_nothing_to_choose_by(tmp_path: Path) -> None:
    plan = make_plan(SMALL, grid=["temperature=0.1,0.2"], num_seeds=1)
    folder = written(tmp_path, plan, {"": (1, 1), "temperature=0.1": (1, 1), "temperature=0.2": (1, 1)})
    (folder.run(plan.cells[1]).path / "metrics.jsonl").write_text('{"phase": "select", "epoch": 1}\n')
    with pytest.raises(InputError, match="--grid: the split leaves no validation pairs"):
        choose(plan, folder)
