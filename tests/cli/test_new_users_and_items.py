"""New users and items on the command line: every flag, on a run that was trained by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.recall.recommender import Recommender
from tests.recall.folded_run import FoldedRun, folded_run

from .conftest import Outcome

Run = Callable[..., Outcome]


@pytest.fixture
def run(tmp_path: Path) -> FoldedRun:
    return folded_run(tmp_path / "run", ids="string")


@pytest.fixture
def news(run: FoldedRun, tmp_path: Path) -> Path:
    """A CSV of two new items and their users."""
    rows = [(run.users.ids[u], item) for item, users in {"n0": [2, 5], "n1": [9]}.items() for u in users]
    path = tmp_path / "news.csv"
    pl.DataFrame(rows, schema=["customer", "product"], orient="row").write_csv(path)
    return path


def test_a_new_users_history(gclrec: Run, run: FoldedRun) -> None:
    raw = run.items.raw([3, 7, 20]).to_list()
    expected = Recommender.load(run.path).recommend_for(raw, 4)
    outcome = gclrec("recommend", run.path, "--items", *raw, "-k", 4, "--json")
    assert outcome.values["history"] == raw
    assert outcome.values["items"] == [item for item, _ in expected]
    assert outcome.values["scores"] == [score for _, score in expected]
    shown = gclrec("recommend", run.path, "--items", *raw, "-k", 4)
    assert "a new user" in shown.out
    assert all(item in shown.out for item, _ in expected)
    everything = gclrec("recommend", run.path, "--items", *raw, "-k", 60, "--no-exclude-seen", "--json")
    assert len(everything.values["items"]) == 60

    said = gclrec("recommend", run.path, "--items", raw[0], "x1", "x2").error
    assert said == "error: 2 unknown items, such as 'x1'; --skip-unknown leaves them out"
    left = gclrec("recommend", run.path, "--items", raw[0], "x1", "-k", 4, "--skip-unknown", "--json")
    assert "note: 1 unknown item, such as 'x1'; left out" in left.err
    assert left.values["items"] == [item for item, _ in Recommender.load(run.path).recommend_for(raw[:1], 4)]


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_of_users(gclrec: Run, run: FoldedRun, tmp_path: Path, suffix: str) -> None:
    table = pl.DataFrame({"user": ["zoe", "zoe", "adam"], "item": run.items.raw([3, 7, 8])})
    source, out = tmp_path / "histories.csv", tmp_path / f"recs.{suffix}"
    table.write_csv(source)
    expected = Recommender.load(run.path).recommend_for(table, 4)
    assert gclrec("recommend", run.path, "--users-file", source, "-k", 4, "--out", out).code == 0
    found = pl.read_csv(out) if suffix == "csv" else pl.read_parquet(out)
    assert found["user"].to_list() == expected["user"].to_list()
    assert found["item"].to_list() == expected["item"].to_list()
    printed = gclrec("recommend", run.path, "--users-file", source, "-k", 4, "--json")
    lines = [json.loads(line) for line in printed.out.splitlines()]
    assert [line["user"] for line in lines] == ["zoe", "adam"]
    assert [item for line in lines for item in line["items"]] == expected["item"].to_list()
    pl.concat([table, pl.DataFrame({"user": ["eve"], "item": ["x1"]})]).write_csv(source)
    assert "1 unknown item, such as 'x1'" in gclrec("recommend", run.path, "--users-file", source).error
    notes = gclrec("recommend", run.path, "--users-file", source, "--skip-unknown", "--json")
    assert len(notes.out.splitlines()) == 2
    assert "such as 'eve'; left out" in notes.err


def test_some_items_only(gclrec: Run, run: FoldedRun, tmp_path: Path) -> None:
    user = run.users.ids[9]
    candidates = tmp_path / "candidates.txt"
    candidates.write_text("\n".join(run.items.raw([50, 3, 51, 20])))
    recommender = Recommender.load(run.path)
    cold = gclrec("recommend", run.path, "--user", user, "--cold-only", "--json").values["items"]
    assert cold == [item for item, _ in recommender.cold_only().recommend(user, 10)]
    assert set(run.items.raw([50, 51, 52])) <= set(cold)
    some = gclrec("recommend", run.path, "--user", user, "--candidates", candidates, "--json").values["items"]
    assert some == [
        item for item, _ in recommender.within(run.items.raw([50, 3, 51, 20])).recommend(user, 10)
    ]
    both = gclrec("recommend", run.path, "--user", user, "--candidates", candidates, "--cold-only", "--json")
    assert set(both.values["items"]) == set(run.items.raw([50, 51]))
    candidates.write_text("x1\n" + run.items.ids[3])
    said = gclrec("recommend", run.path, "--user", user, "--candidates", candidates).error
    assert "1 unknown candidate, such as 'x1'; --skip-unknown leaves them out" in said
    left = gclrec(
        "recommend",
        run.path,
        "--items",
        run.items.ids[7],
        "--candidates",
        candidates,
        "--skip-unknown",
        "--json",
    )
    assert left.values["items"] == [run.items.ids[3]]


def test_added_items_on_all_commands(gclrec: Run, run: FoldedRun, news: Path) -> None:
    done = gclrec("add-items", run.path, news, "--json")
    assert done.values == {"run": str(run.path), "added": 2, "added_in_all": 2, "items": 62}
    shown = gclrec("recommend", run.path, "--user", run.users.ids[4], "-k", 62, "--json")
    assert {"n0", "n1"} <= set(shown.values["items"])
    owner = gclrec("recommend", run.path, "--user", run.users.ids[9], "-k", 62, "--json")
    assert "n1" not in owner.values["items"]
    assert len(gclrec("similar", run.path, "--item", "n0", "-k", 61, "--json").values["items"]) == 61
    assert gclrec("recommend", run.path, "--items", "n0", "-k", 3, "--json").values["items"]
    assert gclrec("export", run.path, "--backend", "exact").code == 0
    assert len(Recommender.load(run.path).index) == 62
    after = gclrec("recommend", run.path, "--user", run.users.ids[4], "-k", 62, "--json")
    assert after.values["items"] == shown.values["items"]

    assert "2 of 2 items are in the run already, such as 'n0'" in gclrec("add-items", run.path, news).error
    again = gclrec("add-items", run.path, news, "--skip-known", "--json")
    assert again.values["added"] == 0
    assert again.values["added_in_all"] == 2


def test_flags_of_add_items(gclrec: Run, run: FoldedRun, news: Path, tmp_path: Path) -> None:
    table = pl.read_csv(news).rename({"customer": "who", "product": "what"})
    table = pl.concat([table, pl.DataFrame({"who": ["nobody"], "what": ["n2"]})])
    table.write_csv(news)
    assert "cannot guess the user and item columns" in gclrec("add-items", run.path, news).error
    named = ["--user-column", "who", "--item-column", "what"]
    assert "1 unknown user, such as 'nobody'" in gclrec("add-items", run.path, news, *named).error
    assert not (run.path / "added").exists()
    done = gclrec("add-items", run.path, news, *named, "--skip-unknown", "--json")
    assert done.values["added"] == 2
    assert "note: 1 unknown user" in done.err

    vectors = tmp_path / "vectors.parquet"
    pl.DataFrame({"id": ["v0", "v1"], "embedding": [np.ones(8), -np.ones(8)]}).write_parquet(vectors)
    one = gclrec("add-items", run.path, "--vectors", vectors, "--json")
    assert one.values["added_in_all"] == 4
    opposite = gclrec("similar", run.path, "--item", "v0", "-k", 63, "--json").values
    assert opposite["items"][-1] == "v1"
    assert opposite["scores"][-1] == pytest.approx(-1)
    whole = tmp_path / "whole.parquet"
    ones = pl.Series("embedding", [[1] * 8, [-1] * 8], dtype=pl.List(pl.Int64))
    pl.DataFrame([pl.Series("id", ["w0", "w1"]), ones]).write_parquet(whole)
    assert gclrec("add-items", run.path, "--vectors", whole).code == 0
    alike = gclrec("similar", run.path, "--item", "w0", "-k", 1, "--json").values
    assert (alike["items"], alike["scores"]) == (["v0"], [pytest.approx(1)])
    fresh = gclrec("add-items", run.path, "--vectors", vectors, "--replace", "--json")
    assert fresh.values == {"run": str(run.path), "added": 2, "added_in_all": 2, "items": 62}

    assert gclrec("export", run.path, "--backend", "exact").code == 0
    assert "gclrec export" in gclrec("add-items", run.path, "--vectors", vectors, "--replace").out
    pl.DataFrame({"id": ["v0"], "a": ["x"]}).write_parquet(vectors)
    assert "expected one column of vectors" in gclrec("add-items", run.path, "--vectors", vectors).error


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recommend", "--items", "a", "--user", "b"], "give one of --user ID"),
        (["recommend", "--items", "a", "--out", "x.csv"], "--items prints its answer"),
        (["recommend", "--user", "a", "--skip-unknown"], "--skip-unknown is about"),
        (["recommend", "--user", "a", "--candidates", "nowhere.txt"], "nowhere.txt: no such file"),
        (["recommend", "--users-file", "nowhere.csv"], "nowhere.csv: no such file"),
        (["add-items"], "give a TABLE of interactions, or --item-attributes"),
        (["add-items", "--vectors", "x.parquet", "--user-column", "u"], "name columns of TABLE"),
        (["add-items", "nowhere.csv"], "nowhere.csv: no such file"),
    ],
)
def test_bad_input(gclrec: Run, run: FoldedRun, arguments: list[str], said: str) -> None:
    assert said in gclrec(arguments[0], run.path, *arguments[1:]).error


@pytest.mark.parametrize(
    "flags",
    [
        ["--encoder", "mf"],
        ["--layer-weights", "learned", "--score", "cosine"],
        ["--score", "calibrated", "--refit"],
        ["--method", "pure_svd"],
        ["--method", "popularity"],
    ],
)
def test_every_run_takes_new_users_and_items(
    gclrec: Run, clicks: Path, tmp_path: Path, flags: list[str]
) -> None:
    """What training wrote is enough; with the same items a user of the run gets the same answer."""
    run = tmp_path / "run"
    short = [] if "--method" in flags else ["--epochs", 2, "--dim", 8]
    trained = gclrec("train", "--dataset", clicks, "--run", run, *flags, *short)
    assert trained.code == 0, trained.err
    recommender = Recommender.load(run)
    user = recommender.users.ids[0]
    news = pl.DataFrame({"user": recommender.users.ids[:5], "item": [1000] * 5})
    news.write_csv(tmp_path / "news.csv")
    assert gclrec("add-items", run, tmp_path / "news.csv").code == 0
    assert Recommender.load(run).items.ids[-1] == 1000
    item = int(np.argmax(recommender.item_degrees))
    found = gclrec("recommend", run, "--items", recommender.items.ids[item], "-k", 5, "--json")
    assert len(found.values["items"]) == 5

    parts = ["train", "valid"] if "--refit" in flags else ["train"]
    split = pl.concat([pl.read_parquet(run / "split" / f"{part}.parquet") for part in parts])
    own = split.filter(pl.col("user") == 0)["item"][:2].to_numpy()
    table = pl.DataFrame({"user": [user] * len(own), "item": recommender.items.raw(own)})
    same = recommender.recommend_for(table, 5)
    np.testing.assert_allclose(
        same["score"].to_numpy(), [score for _, score in recommender.recommend(user, 5)], rtol=1e-4, atol=1e-6
    )
