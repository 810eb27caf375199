"""Attributes on the command line: found by themselves or given, kept in the run folder, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.common.errors import InputWarning
from gclrec.data.interactions import Interactions
from gclrec.evaluation.metrics import METRICS
from gclrec.runs.folder import RunFolder
from gclrec.training.prepare import TrainingData
from gclrec.training.sequences import sequences_of

from .conftest import Outcome

Run = Callable[..., Outcome]
QUICK = ("--epochs", 4, "--dim", 8, "--batch-size", 256, "--num-layers", 2, "--metrics", "recall", "--json")
COLD = ("--loss", "softmax", "--negatives", "in_batch", "--score", "cosine", "--learning-rate", 0.05)
SYNTHETIC = ("--dataset", "synthetic-300x200x6000")
USES = (
    ("--attributes", "input", "--id-dropout", 0.2, "--encoder", "lightgcn"),
    ("--attributes", "nodes", "--encoder", "lightgcn"),
    ("--attributes", "map", "--encoder", "lightgcn"),
    ("--attributes", "input", "--encoder", "two_tower", "--refiner", "senet", "--id-dropout", 0.2),
    ("--attributes", "input", "--encoder", "two_tower", "--history", "attention"),
)
NAMES = ["input", "nodes", "map", "two_tower", "history"]


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_attributes_rank_cold_items(gclrec: Run, tmp_path: Path, use: tuple[object, ...]) -> None:
    """On the synthetic data, whose attributes come by themselves: ids cannot, attributes can."""
    found = {}
    for name, flags in (("none", ()), ("used", use)):
        where = ("--run", tmp_path / name, "--split", "cold_items", "--aug", "none")
        outcome = gclrec("train", *SYNTHETIC, *QUICK, *COLD, *where, *flags)
        assert outcome.code == 0, outcome.err
        assert ("--attributes map uses the attributes of items" in outcome.err) == (name == "none")
        metrics, pairs = outcome.values["metrics"], outcome.values["pairs"]
        found[name] = metrics["test/cold_items/recall@20"]
        shares = metrics["test/all/cold_share@20"], pairs["test/cold_items"] / pairs["test/all"]
        told = "hold {:.0%} of the first 20 places and {:.0%} of the held-out pairs".format(*shares)
        assert told in outcome.err
        assert told in (tmp_path / name / "report.html").read_text()
        assert metrics["test/cold_among_cold/recall@20"] >= found[name]
    assert found["used"] > 1.5 * found["none"], found


@pytest.mark.parametrize("use", USES, ids=NAMES)
def test_a_run_folder_is_self_contained(
    gclrec: Run, clicks: Path, tastes: dict[str, Path], tmp_path: Path, use: tuple[object, ...]
) -> None:
    tables = {name: tmp_path / path.name for name, path in tastes.items()}
    for name, path in tables.items():
        path.write_bytes(tastes[name].read_bytes())
    given = ("--item-attributes", tables["items"], "--user-attributes", tables["users"], *use)
    flags = ("--dataset", clicks, *given, *QUICK, "--split", "cold_items", "--aug", "edge_drop+feature_mask")
    whole = gclrec("train", *flags, "--run", tmp_path / "whole", "--refit")
    assert whole.code == 0, whole.err
    fewer = [2 if flag == 4 else flag for flag in flags]
    part = gclrec("train", *fewer, "--run", tmp_path / "part")
    assert part.code == 0, part.err
    straight = gclrec("train", *flags, "--run", tmp_path / "straight")
    for path in tables.values():
        path.unlink()

    resumed = gclrec("train", "--resume", tmp_path / "part", "--epochs", 4, "--json")
    assert resumed.values["metrics"] == straight.values["metrics"]
    again = gclrec("evaluate", tmp_path / "whole", "--json")
    assert again.values["metrics"] == pytest.approx(whole.values["metrics"])
    assert gclrec("export", tmp_path / "whole").code == 0
    user = RunFolder(tmp_path / "whole").split().train.users.ids[0]
    assert gclrec("recommend", tmp_path / "whole", "--user", user).code == 0

    folder = RunFolder.open(tmp_path / "whole")
    assert {side: len(schema.fields) for side, schema in folder.schemas().items()} == {"users": 2, "items": 2}
    stored = pl.read_parquet(tmp_path / "whole" / "attributes" / "items.parquet")
    assert len(stored) == 55  # those that nobody has seen are kept, for later
    table = TrainingData.read(folder).attributes.items
    assert table.num_rows == 50
    gaps = np.array([item % 9 == 0 for item in range(50)])
    np.testing.assert_array_equal(table.columns[0].missing, gaps)


ADDING = {
    "input": USES[0],
    "cosine": (*USES[0], "--score", "cosine", "--refit"),
    "calibrated": (*USES[0], "--score", "calibrated", "--layer-weights", "learned"),
    "nodes": (*USES[1], "--score", "cosine"),
    "map": (
        *USES[2],
        "--score",
        "calibrated",
        "--layer-weights",
        "mean_without_0",
        "--user-attributes",
        "USERS",
    ),
    "map refitted": ("--attributes", "map", "--score", "dot", "--encoder", "egcf", "--refit"),
    "map of mf": ("--attributes", "map", "--score", "cosine", "--encoder", "mf"),
    "map of content": ("--ssl", "content", "--score", "calibrated", "--loss", "softmax"),
    "own score": ("--attributes", "input", "--ssl", "byol"),
    "no layers": ("--attributes", "input", "--num-layers", 0, "--loss", "bpr"),
    "two_tower": (*USES[3], "--user-attributes", "USERS"),
    "history": USES[4],
    "sage": ("--attributes", "input", "--encoder", "sage", "--layer-weights", "learned"),
    "gat": ("--attributes", "input", "--encoder", "gat"),
}


@pytest.mark.parametrize("kind", ADDING)
def test_a_new_item_equals_a_cold_item_of_the_catalogue(
    gclrec: Run, clicks: Path, tastes: dict[str, Path], tmp_path: Path, kind: str
) -> None:
    """By its attributes alone, without training again: the same vector to 1e-5."""
    flags = tuple(tastes["users"] if part == "USERS" else part for part in ADDING[kind])
    data = ("--dataset", clicks, "--item-attributes", tastes["items"], "--split", "cold_items")
    quick = QUICK[: QUICK.index("--num-layers")] if "--num-layers" in flags else QUICK[:-1]
    run = tmp_path / "run"
    trained = gclrec("train", *data, *flags, *quick, "--aug", "none", "--run", run)
    assert trained.code == 0, trained.err
    held = pl.read_parquet(run / "embeddings" / "items.parquet")
    catalogue = pl.read_csv(tastes["items"])
    cold = held.filter(pl.col("degree") == 0)
    told = catalogue.filter(pl.col("item_id").is_in(cold["id"].implode()))
    if kind == "nodes" or "map" in kind:  # they make no use of a price
        told = told.drop_nulls("tags")
    news = tmp_path / "news.csv"
    told.with_columns(pl.col("item_id") + 1000).write_csv(news)
    outcome = gclrec("add-items", run, "--item-attributes", news, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.values["added"] == len(told) >= 4
    added = pl.read_parquet(run / "added" / "items.parquet").with_columns(pl.col("id") - 1000)
    both = cold.join(added, on="id", suffix="_new")
    assert len(both) == len(told)
    vectors = both["vector"].to_numpy()
    np.testing.assert_allclose(both["vector_new"].to_numpy(), vectors, rtol=1e-5, atol=1e-6)
    assert np.abs(vectors).max() > 1e-3
    assert len(np.unique(vectors.round(5), axis=0)) > 3


def test_items_of_the_table_that_nobody_has_are_added_by_name(
    gclrec: Run, clicks: Path, tastes: dict[str, Path], tmp_path: Path
) -> None:
    """They are no candidates; a training says how they become such, and so does a list of cold items."""
    run, table = tmp_path / "run", tastes["items"]
    known = pl.read_csv(clicks)["item_id"].unique()
    others = pl.read_csv(table).filter(~pl.col("item_id").is_in(known.implode()))
    trained = gclrec("train", "--dataset", clicks, "--item-attributes", table, *QUICK, "--run", run)
    add = ("add-items", "--item-attributes", str(table), "--skip-known")
    assert f"has {len(others)} rows of items that are not in the data" in trained.err
    assert " ".join((add[0], "RUN", *add[1:])) in trained.err
    cold = ("recommend", run, "--user", "user-3", "--cold-only", "--json")
    assert 0 not in pl.read_parquet(run / "embeddings" / "items.parquet")["degree"]
    assert "gclrec add-items adds new ones" in gclrec(*cold).error
    told = gclrec(add[0], run, *add[1:], "--skip-unknown", "--json")
    assert told.values["added"] == len(others.drop_nulls("tags")) > 3
    assert set(gclrec(*cold, "-k", 3).values["items"]) <= set(others["item_id"])


def test_what_attributes_of_new_items_cannot_tell(
    gclrec: Run, clicks: Path, tastes: dict[str, Path], tmp_path: Path
) -> None:
    data, run, news = ("--dataset", clicks, *QUICK[:-1]), tmp_path / "run", tmp_path / "news.csv"
    given = ("--item-attributes", tastes["items"], "--attributes", "input")
    assert gclrec("train", *data, *given, "--run", run).code == 0
    assert gclrec("train", *data, "--run", tmp_path / "plain").code == 0
    news.write_text("item_id,tags,price\n1001,odd|t3,2.5\n1002,,\n1003,new|newer,\n")
    add = ("add-items", run, "--item-attributes", news)
    assert "2 of 3 items have neither a user that training has seen nor attributes" in gclrec(*add).error
    left = gclrec(*add, "--skip-unknown", "--json")
    assert left.values["added"] == 1
    pairs = tmp_path / "pairs.csv"  # an item with users can be added without attributes
    pairs.write_text("user_id,item_id\nuser-3,1002\nuser-5,1002\nuser-5,1003\n")
    both = gclrec("add-items", run, pairs, "--item-attributes", news, "--skip-known", "--json")
    assert both.values["added"] == 2
    assert (
        "was trained without attributes of items"
        in gclrec("add-items", tmp_path / "plain", "--item-attributes", news).error
    )
    assert "take one of them" in gclrec(*add, "--vectors", news).error
    news.write_text("item_id,colour\n1004,red\n")
    assert "found fields colour, expected some of tags, price" in gclrec(*add).error
    news.write_text("item_id,price\n1004,cheap\n1005,dear\n")
    assert "field 'price': found values of type String, expected number" in gclrec(*add).error
    news.write_text("item_id,price\n7,2.5\n")
    assert "1 of 1 item is in the run already, such as 7" in gclrec(*add).error


def test_tables_that_are_given_are_used(
    gclrec: Run, clicks: Path, tastes: dict[str, Path], tmp_path: Path
) -> None:
    """Without --attributes, by a map where the encoder has one; and the run says how."""
    items = ("--dataset", clicks, "--item-attributes", tastes["items"], *QUICK)
    ways = {
        (): "map",
        ("--encoder", "two_tower", "--aug", "none"): "input",
        ("--ssl", "features", "--aug", "none"): "input",
        ("--id-dropout", 0.2): "input",
        ("--attributes", "nodes"): "nodes",
    }
    for number, (flags, use) in enumerate(ways.items()):
        outcome = gclrec("train", *items, *flags, "--run", tmp_path / str(number))
        assert outcome.code == 0, outcome.err
        assert f"attributes of items: {use}" in outcome.err
        assert RunFolder(tmp_path / str(number)).settings()["attributes"] == use


def test_a_run_that_hides_cold_items_says_so(gclrec: Run, tmp_path: Path) -> None:
    """By BPR and the inner product cold items are too short to be found; a map may serve them."""
    flags = (*SYNTHETIC, *QUICK, "--split", "cold_items", "--aug", "none", "--cold-share", 0.5)
    hidden = gclrec("train", *flags, "--attributes", "input", "--run", tmp_path / "hidden")
    assert "of the test pairs; --attributes map places them by validation" in hidden.err
    served = ("--attributes", "map", "--select", "cold_items/recall@20", "--run", tmp_path / "served")
    outcome = gclrec("train", *flags, *served)
    assert "places in lists" not in outcome.err
    metrics = outcome.values["metrics"]
    assert metrics["test/all/cold_share@20"] > 0.5
    assert metrics["test/cold_items/recall@20"] > 2 * hidden.values["metrics"]["test/cold_items/recall@20"]


def test_the_goal_decides_who_pays(gclrec: Run, tmp_path: Path) -> None:
    """And the run says what warm items would have without cold ones, as a slow ranking has it."""
    flags = (*SYNTHETIC, *QUICK, "--split", "cold_items", "--aug", "none", "--attributes", "map")
    found = {}
    for goal in ("warm", "balanced", "cold_items"):
        path = tmp_path / goal
        outcome = gclrec("train", *flags, "--goal", goal, "--run", path)
        metrics = outcome.values["metrics"]
        found[goal] = [
            metrics[f"test/{name}@20"]
            for name in ("all/cold_share", "cold_items/recall", "warm_items/recall")
        ]
        told = outcome.values["alone"]["warm_items/recall@20"]
        assert (
            f"{found[goal][2]:.4f}, and {told:.4f} without cold items" in (path / "report.html").read_text()
        )
        assert told == pytest.approx(warm_recall_alone(RunFolder(path)))
    share, cold, warm = zip(*(found[goal] for goal in ("warm", "balanced", "cold_items")), strict=True)
    assert share[0] < share[1] <= share[2]
    assert cold[0] < cold[1] <= cold[2]
    assert warm[0] >= warm[1] >= warm[2]
    assert warm[0] > warm[2]


def warm_recall_alone(folder: RunFolder) -> float:
    split, vectors = (
        folder.split(),
        [
            np.stack(pl.read_parquet(folder.path / "embeddings" / f"{side}.parquet")["vector"].to_numpy())
            for side in ("users", "items")
        ],
    )
    degrees, found = split.train.item_degrees(), []
    scores = vectors[0] @ vectors[1].T
    for user in np.unique(split.test.user):
        wanted = split.test.item[split.test.user == user]
        wanted = wanted[degrees[wanted] > 5]
        scores[user, degrees == 0] = -np.inf
        for part in (split.train, split.valid):
            scores[user, part.item[part.user == user]] = -np.inf
        if len(wanted):
            found.append(np.isin(wanted, np.argsort(-scores[user], kind="stable")[:20]).mean())
    return float(np.mean(found))


def test_histories_are_in_order_of_time_or_of_the_file(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """And the run says which."""
    flags = (*QUICK, "--encoder", "two_tower", "--history", "mean", "--aug", "none")
    assert "no times" not in gclrec("train", "--dataset", clicks, *flags, "--run", tmp_path / "timed").err
    timed = RunFolder(tmp_path / "timed").split().train
    whole = pl.read_csv(clicks)
    untimed = tmp_path / "untimed.csv"
    whole.select("user_id", "item_id").write_csv(untimed)
    told = gclrec("train", "--dataset", untimed, *flags, "--run", tmp_path / "untimed").err
    assert "histories are in the order in which the data names their items" in told
    plain = RunFolder(tmp_path / "untimed").split().train
    assert plain.time is None
    for pairs, by in ((timed, "timestamp"), (plain, None)):
        newest = sequences_of(pairs, 3).newest().tolist() if by else in_file_order(pairs)
        kept = pairs.to_frame().select(pl.struct("user", "item").alias("pair"))["pair"].implode()
        left = whole.filter(
            pl.struct(pl.col("user_id").alias("user"), pl.col("item_id").alias("item")).is_in(kept)
        )
        for row, user in enumerate(pairs.users.ids.to_list()):
            own = left.filter(pl.col("user_id") == user)
            own = own if by is None else own.sort(by, maintain_order=True)
            assert newest[row] == pairs.items.rows(own["item_id"])[-3:].tolist()


def in_file_order(pairs: Interactions) -> list[list[int]]:
    with pytest.warns(InputWarning, match="no times"):
        return sequences_of(pairs, 3).newest().tolist()


def test_runs_without_attributes_keep_none(gclrec: Run, tmp_path: Path) -> None:
    assert gclrec("train", *SYNTHETIC, *QUICK, "--run", tmp_path / "run").code == 0
    assert not (tmp_path / "run" / "attributes").exists()
    assert RunFolder(tmp_path / "run").attribute_tables() == {}


def test_a_damaged_schema_is_one_line(gclrec: Run, tmp_path: Path) -> None:
    assert gclrec("train", *SYNTHETIC, *QUICK, "--run", tmp_path / "run", "--attributes", "input").code == 0
    (tmp_path / "run" / "attributes" / "schema.json").write_text('{"items": [3]}')
    assert "schema.json" in gclrec("train", "--resume", tmp_path / "run", "--epochs", 9).error


BAD_TABLES = {
    "item_id,kind\n1,a\n1,b\n": "found id 1 a second time",
    "item_id,kind\nx1,a\nx2,a\n": "no id is one of the items; found ids as x1, x2, expected as 0, 1",
    "item_id,isbn\n1,a\n2,b\n": "item attributes: no field is left to use",
    "item_id,kind\n1,\n2,\n": "item attributes: no field is left to use",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_bad_tables_end_with_one_line_and_nothing_written(
    gclrec: Run, clicks: Path, tmp_path: Path, text: str
) -> None:
    path = tmp_path / "items.csv"
    path.write_text(text)
    flags = ("--dataset", clicks, "--run", tmp_path / "run", "--item-attributes", path)
    assert BAD_TABLES[text] in gclrec("train", *flags, *QUICK, "--attributes", "input").error
    assert not (tmp_path / "run").exists()


def test_vectors_of_different_widths(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    pl.DataFrame({"item_id": [0, 1], "cover": [[1.0], [1.0, 2.0]]}).write_parquet(path)
    flags = ("--dataset", clicks, "--run", tmp_path / "run", "--item-attributes", path)
    assert "column 'cover', expected 1 as above" in gclrec("train", *flags, "--attributes", "input").error


def test_describe_shows_the_given_tables(gclrec: Run, clicks: Path, tastes: dict[str, Path]) -> None:
    given = ("--item-attributes", tastes["items"], "--user-attributes", tastes["users"])
    outcome = gclrec("data", "describe", clicks, *given, "--json")
    fields = {field["field"]: field for field in outcome.values["item_attributes"]}
    assert fields["tags"]["coverage"] == pytest.approx(44 / 50)
    assert [field["field"] for field in outcome.values["user_attributes"]] == ["taste", "age"]
    assert "item attribute" in outcome.err  # the tables, beside the JSON
    assert (
        "no id is one of the users"
        in gclrec("data", "describe", clicks, "--user-attributes", tastes["items"]).error
    )


def test_all_figures_of_the_content_baseline(gclrec: Run, tmp_path: Path) -> None:
    where = ("--run", tmp_path / "run", "--split", "cold_items", "--json")
    values = gclrec("train", *SYNTHETIC, "--method", "content_knn", *where).values["metrics"]
    assert values["test/cold_items/recall@20"] > 0.1
    assert {f"test/cold_items/{name}@20" for name in METRICS} <= values.keys()
