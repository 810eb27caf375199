"""``gclrec compare``: from nothing to a report; going on where it was; what it refuses."""

from __future__ import annotations

import html.parser
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gclrec.evaluation import ITEM_GROUPS, METRICS, USER_GROUPS
from gclrec.experiments import run_cells
from gclrec.experiments.findings import FINDING_COLUMNS
from gclrec.experiments.significance import holm, paired_test
from gclrec.runs.folder import RunFolder
from gclrec.training.prepare import config_of

from .conftest import Outcome

Run = Callable[..., Outcome]
DOCS = Path(__file__).resolve().parents[2] / "docs"
QUICK = ("--epochs", 2, "--dim", 8, "--batch-size", 128, "--num-layers", 1, "--near-cold", 9, "--ks", 5, 20)
PARTS = {"train": range(8), "valid": (8, 9), "test": range(10, 14)}
FILES = {"comparison.json", "report.html", "table.csv", "table.md", "table.parquet", "runs"}


@pytest.fixture
def compare(gclrec: Run, clicks: Path, tmp_path: Path) -> Run:
    """Return a function that compares on the small table, into ``tmp_path / "out"``."""

    def run(*flags: object) -> Outcome:
        usual = {"--dataset": clicks, "--out": tmp_path / "out", "--seeds": 2}
        usual |= dict(zip(QUICK[:-3:2], QUICK[1:-3:2], strict=True))
        kept = [part for flag, value in usual.items() if flag not in flags for part in (flag, value)]
        return gclrec("compare", *kept, *QUICK[-3:], *flags)

    return run


class Balance(html.parser.HTMLParser):
    """Checks that what is opened is closed, and notes what a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []
        self.seen: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.fetched += [str(value) for name, value in attrs if name in ("src", "href", "srcset")]
        if tag not in ("meta", "!doctype"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_table_report_and_words(compare: Run, tmp_path: Path) -> None:
    outcome = compare("--json")
    assert outcome.code == 0, outcome.err
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == FILES
    values = outcome.values
    table = pl.read_parquet(out / "table.parquet")
    assert values["table"] == table.to_dicts()
    assert tuple(table.columns) == FINDING_COLUMNS
    assert ", ".join(FINDING_COLUMNS[5:]) in (DOCS / "how-to" / "compare.md").read_text(encoding="utf-8")
    assert pl.read_csv(out / "table.csv").height == table.height
    assert set(table["group"]) <= {*USER_GROUPS, *ITEM_GROUPS}
    assert set(table["variant"]) == {"none", "edge_drop", "node_drop"}
    assert set(table["metric"]) == {f"{name}@20" for name in METRICS}

    page = (out / "report.html").read_text(encoding="utf-8")
    parsed = Balance(page)
    assert parsed.fetched == []
    assert "script" not in parsed.seen
    assert "url(" not in page
    assert "@import" not in page
    assert parsed.seen.count("svg") >= 2 + 2 + 3  # forests, deciles; curves, plane, lengths
    assert 'name="viewport"' in page
    assert "prefers-color-scheme: dark" in page
    for sentence in values["sentences"]:
        assert sentence.split(" (")[0].replace("<", "&lt;") in page
    words = " ".join(values["sentences"])
    claims = table.filter(pl.col("p_holm").is_not_null())
    for row in claims.filter(pl.col("verdict") == "not significant").iter_rows(named=True):
        assert row["group"].replace("_", " ").replace("near cold", "near-cold") in words
    assert values["tests"] == claims.height
    assert "60 users, 50 items" in outcome.err  # tables go to stderr with --json
    for run in (out / "runs").iterdir():
        Balance((run / "report.html").read_text(encoding="utf-8"))


def test_against_the_field_everything_is_tuned(
    compare: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gclrec.studies.FIELD", ("popularity", "item_knn"))
    flags = ("--methods", "pure_svd", "--against-field", "--trials", 2, "--seeds", 1)
    outcome = compare(*flags, "--dim", 4)
    assert outcome.code == 0, outcome.err
    values = compare(*flags, "--json", "--dim", 4).values
    assert values["against"] == "pure_svd"
    assert values["tuned"].keys() == {"item_knn"}  # the only one with anything to tune: --dim is given
    assert {row["variant"] for row in values["table"]} == {"pure_svd", "popularity", "item_knn"}
    best = pl.read_csv(tmp_path / "out" / "tuning" / "item_knn" / "trials.csv").sort("value", descending=True)
    assert values["tuned"]["item_knn"]["neighbours"] == best["neighbours"][0]


def test_the_table_is_what_the_runs_say(compare: Run, tmp_path: Path) -> None:
    """Means, differences, p values and the family, from per_user.parquet by hand."""
    values = compare("--claim", "ndcg@5", "--against", "node_drop", "--json").values
    rows = [row for row in values["table"] if row["metric"] == "ndcg@5"]
    assert all(row["p"] is None for row in values["table"] if row["metric"] != "ndcg@5")
    runs = tmp_path / "out" / "runs"
    expected: list[float] = []
    found: list[float] = []
    for row in rows:
        column = row["group"] + "/ndcg@5" if row["group"] in ITEM_GROUPS else "ndcg@5"
        scores = {}
        for variant in (row["variant"], "node_drop"):
            frames = [pl.read_parquet(runs / f"{variant}__seed={s}" / "per_user.parquet") for s in (0, 1)]
            if row["group"] in USER_GROUPS:
                keep = USER_GROUPS[row["group"]](frames[0]["degree"].to_numpy(), 9)
                frames = [frame.filter(pl.Series(keep)) for frame in frames]
            scores[variant] = np.stack([frame[column].drop_nulls().to_numpy() for frame in frames])
        mine, base = scores[row["variant"]], scores["node_drop"]
        assert row["users"] == mine.shape[1]
        assert row["mean"] == pytest.approx(mine.mean())
        assert row["low"] <= row["mean"] <= row["high"]
        if row["variant"] == "node_drop":
            assert (row["verdict"], row["difference"]) == ("baseline", None)
            continue
        assert row["difference"] == pytest.approx((mine - base).mean(), abs=1e-12)
        assert row["difference_low"] <= row["difference"] <= row["difference_high"]
        if row["p"] is not None:
            expected.append(float(paired_test((mine - base)[None])[0]))
            found.append(row["p"])
    assert found == pytest.approx(expected)
    adjusted = [row["p_holm"] for row in rows if row["p"] is not None]
    assert adjusted == pytest.approx(holm(found).tolist())
    assert values["tests"] == len(found)


def test_groups_of_the_same_pairs_are_tested_once(compare: Run, tmp_path: Path) -> None:
    """All test items are cold here, so they are in the tail too."""
    pairs = {part: [(u, i) for u in range(30) for i in items] for part, items in PARTS.items()}
    folder = tmp_path / "cold"
    folder.mkdir()
    for part, rows in pairs.items():
        text = "".join(f"{user} {item}\n" for user, item in rows)
        (folder / f"{part}.txt").write_text(text, encoding="utf-8")
    outcome = compare("--dataset", folder, "--augs", "none,noise", "--near-cold", 5, "--json")
    assert outcome.code == 0, outcome.err
    rows = [row for row in outcome.values["table"] if row["variant"] == "noise"]
    verdicts = {row["group"]: row["verdict"] for row in rows if row["metric"] == "recall@20"}
    for tested in ("all", "cold_among_cold"):  # the same pairs in other lists
        assert verdicts.pop(tested) in ("not significant", "better", "worse", "nothing varies")
    assert set(verdicts) == {"warm_users", "cold_items", "tail_items"}
    assert set(verdicts.values()) == {"same pairs as all"}
    assert outcome.values["tests"] <= 2
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Not tested twice: warm users (same pairs as all), cold items (same pairs as all)" in page


def test_groups_of_other_pairs_are_no_twins(compare: Run, tmp_path: Path) -> None:
    """Each of twelve users has one warm and one cold test item: as many, but not the same pairs."""
    warm, cold = range(12), range(12, 24)
    parts = {
        "train": [(u, i) for u in range(30) for i in warm if (u + i) % 3 or u >= 12],
        "valid": [(u, u % 12) for u in range(12, 30)],
        "test": [pair for u in range(12) for pair in ((u, (12 - u) % 3 + 3 * (u % 4)), (u, cold[u]))],
    }
    parts["train"] = [pair for pair in parts["train"] if pair not in {*parts["valid"], *parts["test"]}]
    folder = tmp_path / "halves"
    folder.mkdir()
    for part, rows in parts.items():
        text = "".join(f"{user} {item}\n" for user, item in rows)
        (folder / f"{part}.txt").write_text(text, encoding="utf-8")
    outcome = compare("--dataset", folder, "--augs", "none,noise", "--near-cold", 5, "--json")
    assert outcome.code == 0, outcome.err
    rows = [row for row in outcome.values["table"] if row["variant"] == "noise"]
    found = {row["group"]: (row["pairs"], row["verdict"]) for row in rows if row["metric"] == "recall@20"}
    assert found["warm_items"][0] == found["cold_items"][0] == 12
    assert not found["cold_items"][1].startswith("same pairs")
    assert not found["warm_items"][1].startswith("same pairs")


def test_every_kind_of_variant_in_one(compare: Run, tmp_path: Path) -> None:
    """Methods, baselines with and without vectors, a grid, two different views, and shares."""
    outcome = compare(
        *("--augs", "none,edge_drop/noise:0.1", "--methods", "item_knn", "popularity", "xsimgcl"),
        *("--grid", "temperature=0.1,0.3", "--train-fractions", "1,0.5", "--same-steps"),
        *("--seeds", 1, "--json"),
    )
    assert outcome.code == 0, outcome.err
    table = pl.DataFrame(outcome.values["table"], infer_schema_length=None)
    assert set(table["train_fraction"]) == {1.0, 0.5}
    assert set(table["variant"]) == {"none", "edge_drop/noise:0.1", "item_knn", "popularity", "xsimgcl"}
    settings = dict(table.select("variant", "setting").unique(["variant"]).iter_rows())
    assert settings["none"] == settings["item_knn"] == ""
    assert settings["xsimgcl"].startswith("temperature=")
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for heading in ("Sparsity", "Settings tried", "Geometry", "at train fraction 0.5", "There is one seed"):
        assert heading in page
    Balance(page)
    config = config_of(
        RunFolder.open(
            tmp_path / "out" / "runs" / "edge_drop%2Fnoise%3A0.1__temperature=0.3__train-fraction=0.5__seed=0"
        )
    )
    assert (config.aug, config.temperature, config.train_fraction) == ("edge_drop,noise:0.1", 0.3, 0.5)
    assert config.epochs == 4  # half of the pairs, twice the epochs


def test_an_interrupted_comparison_goes_on(
    compare: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in the third run, between two epochs; the same command ends with what one go ends with."""
    whole = compare("--json").values
    (tmp_path / "out").rename(tmp_path / "whole")
    fit_run, calls, appended = run_cells.fit_run, [], RunFolder.append_metrics

    def stopped(folder: RunFolder, data: object, *, callbacks: list[object]) -> None:
        calls.append(folder.path.name)

        def append(self: RunFolder, record: dict[str, object]) -> None:
            if record["epoch"] == 2:
                raise KeyboardInterrupt
            appended(self, record)

        if len(calls) == 3:
            monkeypatch.setattr(RunFolder, "append_metrics", append)
        fit_run(folder, data, callbacks=callbacks)  # type: ignore[arg-type]

    monkeypatch.setattr(run_cells, "fit_run", stopped)
    outcome = compare()
    assert outcome.code == 130
    assert "the same command goes on" in outcome.out
    monkeypatch.setattr(RunFolder, "append_metrics", appended)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").glob("*/result.json")}
    assert len(kept) == 2
    again = compare("--json").values
    assert calls[3:] == calls[2:3] + [cell for cell in calls[3:] if cell != calls[2]]
    assert len(calls) == 3 + 4
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert again["table"] == whole["table"]
    assert compare("--json").values["table"] == whole["table"]
    assert len(calls) == 7  # nothing was left to do


@pytest.mark.parametrize("budget", [("--epochs", 1), ("--steps", 3), ()])
def test_a_batch_size_that_follows_from_the_data_goes_on(
    gclrec: Run, clicks: Path, tmp_path: Path, budget: tuple[object, ...]
) -> None:
    flags = ("--dataset", clicks, "--out", tmp_path / "out", "--seeds", 1, "--dim", 4, *budget)
    first = gclrec("compare", *flags, "--methods", "mf,popularity", "--json").values
    assert gclrec("compare", *flags, "--methods", "mf,popularity", "--json").values["table"] == first["table"]
    outcome = gclrec("compare", *flags, "--methods", "mf,popularity", "--batch-size", 100)
    assert outcome.code == 2
    assert "--batch-size 2048" in outcome.err or "its default" in outcome.err


def test_more_seeds_and_variants_are_added(compare: Run, tmp_path: Path) -> None:
    compare("--augs", "none,edge_drop")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out" / "runs").glob("*/result.json")}
    outcome = compare("--augs", "none,edge_drop,noise", "--seeds", 3, "--json")
    assert outcome.code == 0, outcome.err
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 9
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


@pytest.mark.parametrize("length", [("--epochs", 1), ()])
def test_the_same_command_goes_on_whatever_the_budget_leaves_open(
    gclrec: Run, clicks: Path, tmp_path: Path, length: tuple[object, ...]
) -> None:
    """Batch size, and epochs where none are named, follow from the data."""
    flags = ("--dataset", clicks, "--out", tmp_path / "out", "--augs", "none,noise", "--seeds", 1, "--dim", 4)
    assert gclrec("compare", *flags, *length).code == 0
    again = gclrec("compare", *flags, *length)
    assert again.code == 0, again.err
    assert "holds runs with --batch-size" in gclrec("compare", *flags, *length, "--batch-size", 9).error


def test_other_settings_or_other_data_are_refused(compare: Run, clicks: Path, tmp_path: Path) -> None:
    compare("--augs", "none,edge_drop", "--seeds", 1)
    assert "--epochs 2, now 3" in compare("--epochs", 3).error
    assert "--aug-p 0.1, now 0.4" in compare("--aug-p", 0.4).error
    assert "--split-seed 0, now 5" in compare("--split-seed", 5).error
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    assert "holds no comparison" in compare("--out", tmp_path / "other").error
    settings = tmp_path / "out" / "comparison.json"
    settings.write_text(settings.read_text()[:-20])
    assert "comparison.json: damaged" in compare().error


def test_data_that_changed_in_between(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    table = tmp_path / "clicks.csv"
    table.write_text(clicks.read_text())
    flags = ("--dataset", table, "--out", tmp_path / "out", "--seeds", 1, *QUICK)
    assert gclrec("compare", *flags, "--augs", "none,edge_drop").code == 0
    table.write_text("".join(clicks.read_text().splitlines(keepends=True)[:-40]))
    assert "has the data set changed" in gclrec("compare", *flags, "--augs", "none,noise").error


def test_without_validation_the_last_epoch_is_kept_with_one_note(compare: Run, tmp_path: Path) -> None:
    flags = ("--split", "temporal", "--valid-share", 0.0001, "--augs", "none,noise", "--grid", "dim=8")
    outcome = compare(*flags)
    assert outcome.code == 0, outcome.err
    assert outcome.err.count("leaves no valid pairs") == 1
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Learning curves" not in page
    assert "nan" not in re.sub("[a-z]nan|nan[a-z]", "", page)
    assert "no validation pairs" in compare(*flags[:-1], "dim=8,4").error


def test_training_that_is_too_short_is_reported(compare: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Best at the last epoch in both runs of one variant, and at the first in those of the other."""
    best = {"none": 2, "noise": 1}
    written = RunFolder.write_result

    def write(self: RunFolder, result: dict[str, object], per_user: pl.DataFrame) -> None:
        written(self, {**result, "epochs": best[self.path.name.split("__")[0]]}, per_user)

    monkeypatch.setattr(RunFolder, "write_result", write)
    out = compare("--augs", "none,noise").out
    assert "Best at the last epoch in most runs: none. With more --epochs" in out


def test_settings_from_a_file(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        f'dataset = "{clicks}"\naugs = ["none", "noise"]\nseeds = 1\nepochs = 1\ndim = 8\ntemperature = 0.4\n'
    )
    flags = ("--config", tmp_path / "c.toml", "--out", tmp_path / "out", "--methods", "sgl", "--json")
    outcome = gclrec("compare", *flags)
    assert outcome.code == 0, outcome.err
    assert sorted(p.name for p in (tmp_path / "out" / "runs").iterdir()) == [
        "noise__seed=0",
        "none__seed=0",
        "sgl__seed=0",
    ]
    assert config_of(RunFolder.open(tmp_path / "out" / "runs" / "sgl__seed=0")).temperature == 0.4


def test_variants_from_a_file(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """An ablation: the method, and the method less one part each."""
    file = tmp_path / "c.toml"
    file.write_text(
        f'dataset = "{clicks}"\nseeds = 1\nepochs = 1\ndim = 8\nagainst = "whole"\n'
        '[variants.whole]\nmethod = "sgl"\n[variants."less contrast"]\nmethod = "sgl"\nssl = "none"\n'
    )
    outcome = gclrec("compare", "--config", file, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    assert {row["variant"] for row in outcome.values["table"]} == {"whole", "less contrast"}
    run = RunFolder.open(tmp_path / "out" / "runs" / "less%20contrast__seed=0")
    assert (config_of(run).ssl, config_of(run).aug, config_of(run).dim) == ("none", "edge_drop:0.1", 8)
    assert "less contrast against whole" in outcome.out + outcome.err
    file.write_text("variants = 3\n")
    assert "expected tables [variants.NAME]" in gclrec("compare", "--config", file).error
    file.write_text("[variants.a]\naug = 'none'\n")
    assert "unknown setting 'variants'" in gclrec("train", "--config", file).error


def test_names_are_escaped(gclrec: Run, clicks: Path, tmp_path: Path) -> None:
    """A variant may have any name: it shows up as text on the page, in Markdown and in the charts."""
    file, name = tmp_path / "c.toml", "<script>alert('$1')</script> | $x^{ & y"
    file.write_text(
        f'dataset = "{clicks}"\nseeds = 1\nepochs = 1\ndim = 8\n'
        f'[variants.plain]\naug = "none"\n[variants."{name}"]\naug = "noise"\n'
    )
    outcome = gclrec("compare", "--config", file, "--out", tmp_path / "out", "--json")
    assert outcome.code == 0, outcome.err
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "script" not in Balance(page).seen
    assert page.count("&lt;script&gt;") > 5
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert name.replace("|", "/") in table
    widths = {line.count("|") for line in table.splitlines() if line.startswith("| ")}
    assert len(widths) == 2  # the main table and the geometry


BAD_FLAGS = {
    "--augs none,edge_drip": "edge_drop",
    "--augs none": "two variants",
    "--augs none,none": "named twice",
    "--augs none,,noise": "between two commas",
    "--methods best": "sgl",
    "--aug noise": "--augs",
    "--baseline item_knn": "--methods",
    "--grid epochs": "NAME=VALUE",
    "--grid seed=1,2": "nothing to choose",
    "--train-fractions 1,much": "--train-fractions",
    "--train-fractions 1,2": "--train-fraction",
    "--against noise": "--against",
    "--claim charm@20": "--claim",
    "--seeds 0": "--seeds",
    "--given seed": "--given",
    "--config missing.toml": "missing.toml",
    "--temperature 0": "--temperature",
    "--split sideways": "leave_one_out",
}


@pytest.mark.parametrize("flags", BAD_FLAGS)
def test_bad_flags_end_with_one_line_and_nothing_written(compare: Run, tmp_path: Path, flags: str) -> None:
    assert BAD_FLAGS[flags] in compare(*flags.split()).error
    assert not (tmp_path / "out").exists()


def test_a_damaged_run_is_named(compare: Run, tmp_path: Path) -> None:
    compare("--augs", "none,noise", "--seeds", 1)
    scores = tmp_path / "out" / "runs" / "noise__seed=0" / "per_user.parquet"
    scores.with_name("checksums.json").unlink()
    table = pl.read_parquet(scores)
    table.head(10).write_parquet(scores)
    assert "not tested on the same users" in compare("--augs", "none,noise", "--seeds", 1).error
    table.select("user", "degree").write_parquet(scores)
    assert "per_user.parquet: has no scores by group" in compare("--augs", "none,noise", "--seeds", 1).error


def test_a_run_has_a_page_of_its_own_and_export_adds_the_index(
    gclrec: Run, clicks: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert "report.html" in gclrec("train", "--dataset", clicks, "--loss", "bpr", "--run", run, *QUICK).out
    page = (run / "report.html").read_text(encoding="utf-8")
    assert Balance(page).fetched == []
    for heading in ("Test figures", "Learning", "Recall by popularity", "Length of item", "Geometry"):
        assert heading in page
    assert "<h2>Index</h2>" not in page
    figure = json.loads((run / "result.json").read_text())["metrics"]["test/all/recall@20"]
    assert f"{figure:.4f}" in page
    assert gclrec("export", run).code == 0
    assert "<h2>Index</h2>" in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("method", ["item_knn", "popularity", "two_tower"])
def test_a_run_without_vectors_or_lengths_has_a_page(
    gclrec: Run, clicks: Path, tmp_path: Path, method: str
) -> None:
    run = tmp_path / "run"
    assert gclrec("train", "--dataset", clicks, "--run", run, *QUICK, "--method", method).code == 0
    page = (run / "report.html").read_text(encoding="utf-8")
    Balance(page)
    assert ("Length of item" in page) == (method == "popularity")
    assert "Recall by popularity" in page
