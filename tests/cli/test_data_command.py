"""``gclrec data``: what it prints for people and for machines, and how it ends on bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from gclrec.cli.data import main
from gclrec.data.catalog.entries import CATALOG
from gclrec.data.catalog.loader import VARIABLE
from gclrec.data.splits import SPLITS
from gclrec.views.views import VIEWS

ADJACENCY = {"train.txt": "0 0 1 2\n1 1 2\n2 0 2\n", "test.txt": "0 3\n1 0\n"}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "sets"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("gclrec.data.catalog.loader.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr("gclrec.cli.data.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lay(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[str, str]:
    main(arguments)
    return capsys.readouterr()


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    assert ended.value.code == 2
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in err
    return last


def test_list_tells_what_is_where(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(here / "sets" / "gowalla", ADJACENCY)
    lay(here / "cache" / "ml-100k", {"u.data": "1\t2\t3\t4\n"})
    lay(here / "sets" / "lastfm", {"train.txt": "0 1\n"})
    out, _ = run(capsys, "list")
    found = {name: next(line for line in out.splitlines() if line.startswith(f"{name} ")) for name in CATALOG}
    assert "made in code" in found["synthetic"]
    assert f"in ${VARIABLE}" in found["gowalla"]
    assert "in cache" in found["ml-100k"]
    assert "incomplete" in found["lastfm"]
    assert "to download" in found["yelp2018"]
    assert "not here" in found["sparse-yelp"]
    assert "1,561,406" in found["yelp2018"]
    assert "given" in found["yelp2018"]
    assert str(here / "sets") in out
    assert str(here / "cache") in out


def test_list_fits_a_narrow_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gclrec.cli.data.output", lambda as_json: Console(width=80))
    out, _ = run(capsys, "list")
    table = out.splitlines()[: len(CATALOG) + 1]
    assert [line.split()[0] for line in table[1:]] == list(CATALOG)  # a line each, nothing wrapped


def test_list_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = lay(here / "sets" / "gowalla", ADJACENCY)
    out, err = run(capsys, "list", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)["datasets"]}
    assert list(listed) == list(CATALOG)
    assert listed["gowalla"]["path"] == str(folder)
    assert listed["synthetic"]["synthetic"]
    assert "gowalla" in err


def test_describe_synthetic(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = run(capsys, "describe", "synthetic")
    assert out.startswith("synthetic: synthetic data, made in code\n")
    for text in ("3,000 (22 without interactions)", "60,000", "1.000%", "5-core", "categories", "2022-01-01"):
        assert text in out
    assert err == ""


@pytest.mark.parametrize("name", SPLITS)
def test_describe_each_split_as_json(name: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dataset = "synthetic-60x80x700"
    if name == "given":
        dataset = str(lay(here / "own", ADJACENCY))
    out, _ = run(capsys, "describe", dataset, "--split", name, "--seed", "3", "--json")
    assert len(out.splitlines()) == 1
    figures = json.loads(out)
    assert (figures["split"]["name"], figures["split"]["seed"]) == (name, 3)
    assert sum(part["interactions"] for part in figures["split"]["parts"].values()) == figures["interactions"]


def test_split_settings_reach_the_split(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ["--valid-share", "0.2", "--test-share", "0.3", "--cold-share", "0.5"]
    settings += ["--train-fraction", "0.5"]
    plain, shown = (
        json.loads(
            run(capsys, "describe", "synthetic-60x80x700", "--split", "cold_items", *more, "--json")[0]
        )
        for more in (settings, [*settings, "--shots", "3"])
    )
    assert plain["split"]["cold_items"] > 30
    assert plain["split"]["train_fraction"] == 0.5
    train = [figures["split"]["parts"]["train"]["interactions"] for figures in (plain, shown)]
    assert train[1] > train[0]


def test_describe_a_file_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        "who,what,when,stars",
        *(f"u{u},i{u % 3},{1577836800 + u},{u % 5 + 1}" for u in range(12)),
        "u1,i1,5,5",
    ]
    (here / "clicks.csv").write_text("\n".join(rows))
    columns = [
        "--user-column",
        "who",
        "--item-column",
        "what",
        "--time-column",
        "when",
        "--weight-column",
        "stars",
    ]
    out, err = run(capsys, "describe", "clicks.csv", *columns, "--format", "table")
    assert "note: 1 repeated pairs" in err
    assert "12" in out
    assert "rating" in out
    figures = json.loads(run(capsys, "describe", "clicks.csv", *columns, "--min-rating", "4", "--json")[0])
    assert figures["interactions"] == 5  # with the later row of u1 and i1, since the earlier has 2 stars
    assert figures["ratings"]["histogram"][0]["from"] == 4.0
    assert figures["notes"] == []
    assert figures["catalogue"] is None


def test_describe_tells_terms_and_parts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(here / "sets" / "gowalla", ADJACENCY)
    out, err = run(capsys, "describe", "gowalla", "--split", "given")
    assert CATALOG["gowalla"].terms in out
    assert CATALOG["gowalla"].origin in out
    assert "published part" in out
    assert "split given, seed 0" in out
    assert "another version of gowalla?" in err


def test_k_core(capsys: pytest.CaptureFixture[str]) -> None:
    figures = json.loads(run(capsys, "describe", "synthetic-60x80x700", "--k-core", "5", "--json")[0])
    assert figures["user_degrees"]["min"] >= 5
    assert figures["item_degrees"]["min"] >= 5


def test_plot(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(capsys, "describe", "synthetic-60x80x700", "--plot", "plot.png", "--json")
    assert json.loads(out)["plot"] == "plot.png"
    assert (here / "plot.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["describe", "gowala"],
            "unknown data set 'gowala', and no such file or folder; did you mean gowalla",
        ),
        (
            ["describe", "sparse-yelp"],
            "there is no download; get it from https://github.com/HKUDS/SSLRec",
        ),
        (["describe", "clicks.csv"], "clicks.csv: no such file or folder"),
        (["describe", "synthetic", "--split", "shuffled"], "--split: 'shuffled' is not one of given, random"),
        (["describe", "synthetic", "--split", "given"], "needs published train and test parts"),
        (["describe", "synthetic", "--k-core", "1000"], "the 1000-core is empty"),
        (["describe", "synthetic", "--min-rating", "3"], "carry no rating"),
        (["describe", "synthetic", "--user-column", "x"], "synthetic is a data set of the catalogue"),
        (["describe", "synthetic", "--plot", "x.xyz"], "cannot draw .xyz"),
        (["describe", "synthetic", "--plot", "no/such/folder/x.png"], "no/such/folder"),
        (
            ["describe", "synthetic", "--seed", "-1", "--split", "random"],
            "--seed: must be at least 0, got -1",
        ),
        (["describe", "synthetic", "--valid-share", "1", "--split", "random"], "--valid-share: must be"),
        (["describe"], ""),
        (["describe", "synthetic", "--nonsense"], "--nonsense"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with_json = [*arguments, "--json"] if "--nonsense" not in arguments else arguments
    assert message in fails(capsys, *with_json)


def test_data_commands_start_without_the_heavy_libraries() -> None:
    code = (
        "import sys; from gclrec.cli.data import main; main(['list'])\n"
        "print([name for name in ('torch', 'matplotlib', 'scipy', 'requests') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_described(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--split", "random", "--aug", name, "--aug-p", "0.3", "--json")
    out, err = run(capsys, "describe", "synthetic-100x80x900", *flags)
    views = json.loads(out.splitlines()[-1])["views"]
    assert len(views["views"]) == 2
    assert 0.0 <= views["overlap"] <= 1.0
    assert "interactions that both views share" in err
