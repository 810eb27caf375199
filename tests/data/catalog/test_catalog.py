"""The catalogue: every entry is found, fetched and read; and unknown names are reported."""

from __future__ import annotations

import json
import re
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.catalog import loader as catalog
from gclrec.data.catalog.download import fetch
from gclrec.data.catalog.entries import CATALOG, read_catalog
from gclrec.data.catalog.loader import find, load, locate
from gclrec.data.io.columns import Columns
from gclrec.data.splits import SPLITS, make_split

STORED = [name for name, entry in CATALOG.items() if not entry.synthetic]

# One small example of each way in which a data set may lie in its folder.
ADJACENCY = {"train.txt": "0 0 1 2\n1 1 2\n", "test.txt": "0 3\n1 0\n"}
SEQUENCES = "1 5 4 3\n2 3 4 5 6\n"
FOLDERS: dict[str, list[dict[str, str]]] = {
    "gowalla": [ADJACENCY, {**ADJACENCY, "valid_lightgcnpp.txt": "0 2\n"}],
    "yelp2018": [ADJACENCY, {**ADJACENCY, "valid.txt": "0 2\n", "valid_lightgcnpp.txt": "0 1\n"}],
    "amazon-book": [ADJACENCY],
    "ml-100k": [
        {
            "ml-100k.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "1\t7\t3\t100\n2\t7\t4\t50\n",
            "ml-100k.item": "item_id:token\tclass:token_seq\n7\tWar Drama\n",
        },
        {"u.data": "1\t7\t3\t100\n2\t7\t4\t50\n", "u.user": "1|24|M|writer|85711\n2|53|F|other|94043\n"},
    ],
    "ml-1m": [
        {"ratings.dat": "1::7::3::100\n2::7::4::50\n", "movies.dat": "7::Ed Wood (1994)::Comedy|Drama\n"},
        {"ratings.tsv": "user_id\tmovie_id\trating\torder\n1\t7\t3\t0\n1\t8\t3\t1\n2\t7\t4\t0\n"},
    ],
    "lastfm": [ADJACENCY, {"data1.txt": "1\t2\t90\n2\t2\t7\n2\t3\t1\n", "test1.txt": "1\t3\t8\n"}],
    "citeulike-a": [
        {
            "warm_split/train.txt": "0 0 1 2\n1 1 2\n",
            "warm_split/test.txt": "0 3\n1 0\n",
            "item_tags.txt": "0 9\n1 9 8\n",
        },
        {"users.dat": "3 0 1 2\n2 1 2\n", "item-tag.dat": "1 9\n0\n2 9 8\n"},
    ],
    "citeulike-a-cold": [
        {
            "cold_item_split/train.txt": "0 0 1\n",
            "cold_item_split/valid.txt": "0 2\n",
            "cold_item_split/test.txt": "0 3\n",
        }
    ],
    "amazon-beauty": [
        {"sequences.txt": SEQUENCES, "item_attributes.txt": "3 1\n4 1 2\n5 2\n6 1\n"},
        {"Beauty.txt": SEQUENCES, "Beauty_item2attributes.json": json.dumps({"4": [2, 1, 2], "3": [1]})},
    ],
    "amazon-sports": [
        {"sequences.txt": SEQUENCES},
        {"Sports_and_Outdoors.txt": SEQUENCES, "Sports_and_Outdoors_item2attributes.json": '{"3": [1]}'},
    ],
    "amazon-grocery": [
        {
            "train_events.tsv": "user_id\titem_id\ttime\n1\t3\t100\n2\t3\t200\n",
            "item_meta.tsv": "item_id\ti_category\tr_complement\tr_substitute\n3\t5\t[1, 2]\t[]\n",
        },
        {
            "train.csv": "user_id\titem_id\ttime\n1\t3\t100\n2\t3\t200\n",
            "item_meta.csv": "item_id\ti_category\tr_complement\n3\t5\t[1, 2]\n",
        },
    ],
    "sparse-yelp": [{**ADJACENCY, "valid.txt": "0 4\n"}],
    "yelp-2019-temporal": [
        {
            "train_events.tsv": "user\titem\trating\ttimestamp\n0\t3\t5\t100\n1\t3\t2\t200\n",
            "item_categories.txt": "3 15 932\n",
        }
    ],
}
EXAMPLES = [(name, files) for name, ways in FOLDERS.items() for files in ways]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for data sets, an empty cache, and no net."""
    monkeypatch.setenv(catalog.VARIABLE, str(tmp_path / "sets"))
    monkeypatch.setattr(catalog, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(catalog, "fetch", no_net)
    return tmp_path / "sets"


def no_net(url: str, path: Path, **_: object) -> Path:
    raise InputError(f"{url}: no connection to the server")


def lay(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_every_entry_is_complete_and_has_an_example() -> None:
    assert set(FOLDERS) == set(STORED)
    for name, entry in CATALOG.items():
        assert entry.default_split in SPLITS, name
        assert len(FOLDERS.get(name, [])) >= len(entry.layouts)
        assert min(entry.users, entry.items, entry.interactions) > 0
        assert entry.synthetic or entry.origin.startswith("https://"), name
        for text in (entry.title, entry.about, entry.terms, entry.cite, entry.format):
            assert text
            assert "\n" not in text
        for download in entry.downloads:
            assert download.url.startswith("https://")
            assert download.checksum is None or re.fullmatch("md5:[0-9a-f]{32}", download.checksum)
        fetched = {download.filename for download in entry.downloads}
        if fetched and not any(name.endswith(".zip") for name in fetched):
            assert any(set(layout.needed.values()) <= fetched for layout in entry.layouts)


@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
@pytest.mark.parametrize(("name", "files"), EXAMPLES, ids=[f"{name}-{len(f)}" for name, f in EXAMPLES])
def test_every_layout_is_read(name: str, files: dict[str, str], here: Path) -> None:
    entry = CATALOG[name]
    lay(here / (entry.folder or name), files)
    dataset = load(name)
    assert dataset.name == name
    assert not dataset.synthetic
    assert len(dataset.interactions) >= 2
    item_files = ("ml-100k.item", "movies", "item_", "item-")
    has_items = any(file.startswith(item_files) or "_item2" in file for file in files)
    assert (dataset.item_attributes is not None) == has_items
    assert (dataset.user_attributes is not None) == ("u.user" in files)
    for table, vocabulary in (
        (dataset.item_attributes, dataset.interactions.items),
        (dataset.user_attributes, dataset.interactions.users),
    ):
        if table is not None:
            assert table.columns[0] == "id"
            assert table.width > 1
            assert (vocabulary.rows(table["id"]) >= 0).any()
    if "given" in (entry.default_split, dataset.default_split) and dataset.parts:
        split = make_split(dataset)
        assert split.name == "given"
        assert not np.isin(split.valid.pair_keys, split.train.pair_keys).any()
    for order in ("sequences.txt", "ratings.tsv", "Beauty.txt", "Sports_and_Outdoors.txt"):
        if order in files:
            assert dataset.time_is_order


@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
def test_details_of_the_layouts(here: Path) -> None:
    lay(here / "yelp2018", FOLDERS["yelp2018"][1])
    assert load("yelp2018").parts["valid"].item.tolist() == [2]  # the plainly named file wins
    lay(here / "citeulike-a", FOLDERS["citeulike-a"][1])
    original = load("citeulike-a")
    assert original.default_split == "random"  # nothing published lies there
    assert original.interactions.to_frame().rows() == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2)]
    assert original.item_attributes.rows() == [(0, [9]), (2, [9, 8])]
    lay(here / "amazon-beauty", FOLDERS["amazon-beauty"][1])
    beauty = load("amazon-beauty")
    assert beauty.item_attributes.rows() == [(3, [1]), (4, [2, 1])]
    lay(here / "amazon-grocery", FOLDERS["amazon-grocery"][0])
    assert load("amazon-grocery").item_attributes.columns == ["id", "category"]  # complements tell the answer
    lay(here / "lastfm", FOLDERS["lastfm"][1])
    assert load("lastfm").interactions.weight.tolist() == [90, 7, 1, 8]


@pytest.mark.parametrize(
    ("name", "files", "message"),
    [
        (
            "citeulike-a",
            {"users.dat": "3 0 1 2\n2 1\n", "item-tag.dat": "0\n"},
            r"users.dat, line 2: found 1 numbers",
        ),
        ("amazon-beauty", {"Beauty.txt": "1 2 3\n", "Beauty_item2attributes.json": "[1, "}, "expected JSON"),
        (
            "amazon-beauty",
            {"Beauty.txt": "1 2 3\n", "Beauty_item2attributes.json": "[1, 2]"},
            "expected JSON",
        ),
        (
            "amazon-beauty",
            {"Beauty.txt": "1 2 3\n", "Beauty_item2attributes.json": '{"a": [1]}'},
            "expected JSON",
        ),
        ("ml-100k", {"u.data": "1\t2\t3\n"}, "u.data, line 1: found 3 columns"),
    ],
)
def test_damaged_files_are_one_line(name: str, files: dict[str, str], message: str, here: Path) -> None:
    lay(here / name, files)
    with pytest.raises(InputError, match=message) as caught:
        load(name)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*not in train:gclrec.common.errors.InputWarning")
def test_other_counts_than_published_are_reported(here: Path) -> None:
    lay(here / "gowalla", ADJACENCY)
    with pytest.warns(InputWarning, match="7 interactions and not 1,027,370; another version of gowalla"):
        load("gowalla")


def test_the_folder_comes_before_the_cache(here: Path, tmp_path: Path) -> None:
    lay(tmp_path / "cache" / "gowalla", ADJACENCY)
    assert find("gowalla") == tmp_path / "cache" / "gowalla"
    lay(here / "gowalla", ADJACENCY)
    assert find("gowalla") == here / "gowalla"
    assert locate("yelp2018") is None


def test_an_incomplete_folder_is_reported(here: Path) -> None:
    lay(here / "gowalla", {"train.txt": "0 1\n"})
    with pytest.raises(
        InputError, match=r"gowalla: not a complete gowalla; expected train.txt, test.txt, each plain"
    ):
        find("gowalla")


@pytest.mark.parametrize("name", [name for name in STORED if not CATALOG[name].downloads])
def test_without_an_address_it_says_where_to_get_it(name: str, here: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(name)
    message = str(caught.value)
    assert CATALOG[name].origin in message
    assert str(here / (CATALOG[name].folder or name)) in message
    assert all(file in message for file in CATALOG[name].layouts[0].needed.values())
    assert "\n" not in message


@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
def test_without_net_it_says_where_to_get_it(here: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"gowalla: https.*no connection.*; or get it from https.* and put train.txt"
    ):
        load("gowalla")
    assert not (tmp_path / "cache" / "gowalla").exists()


def test_files_are_downloaded_once_and_terms_are_reported(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def half(url: str, path: Path, *, checksum: str | None) -> Path:
        asked.append(url)
        if len(asked) == 2:
            raise InputError(f"{url}: the transfer was cut off before its end")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ADJACENCY[path.name])
        return path

    monkeypatch.setattr(catalog, "fetch", half)
    with (
        pytest.raises(InputError, match="cut off"),
        pytest.warns(InputWarning, match=r"downloading to .*cache.gowalla; terms: none stated; raw"),
    ):
        find("gowalla")
    with pytest.warns(InputWarning, match="downloading"):
        assert find("gowalla") == tmp_path / "cache" / "gowalla"
    assert find("gowalla") == tmp_path / "cache" / "gowalla"
    assert [url.rpartition("/")[2] for url in asked] == ["train.txt", "test.txt", "test.txt"]


@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
def test_a_zip_is_unpacked_and_leaves_no_rest(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def zipped(url: str, path: Path, *, checksum: str | None) -> Path:
        assert (url, checksum) == (
            CATALOG["ml-100k"].downloads[0].url,
            CATALOG["ml-100k"].downloads[0].checksum,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in FOLDERS["ml-100k"][1].items():
                archive.writestr(f"ml-100k/{name}", text)
        return path

    monkeypatch.setattr(catalog, "fetch", zipped)
    dataset = load("ml-100k")
    assert dataset.interactions.weight.tolist() == [3, 4]
    assert dataset.user_attributes["occupation"].to_list() == ["writer", "other"]
    assert [each.name for each in (tmp_path / "cache").iterdir()] == ["ml-100k"]
    lay(tmp_path / "cache" / "ml-1m", {"rest.txt": "of something"})
    with pytest.raises(InputError, match=r"ml-1m is not empty and not complete; remove it"):
        find("ml-1m")


@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
def test_from_a_server_to_a_data_set(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way once, with the true downloader."""
    lay(tmp_path / "served", FOLDERS["lastfm"][1])
    handler = partial(QuietHandler, directory=str(tmp_path / "served"))
    monkeypatch.setattr(catalog, "fetch", fetch)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        files = tuple(replace(file, url=f"{address}/{file.filename}") for file in CATALOG["lastfm"].downloads)
        monkeypatch.setitem(CATALOG, "lastfm", replace(CATALOG["lastfm"], downloads=files))
        dataset = load("lastfm")
        server.shutdown()
        thread.join()
    assert dataset.interactions.weight.tolist() == [90, 7, 1, 8]
    assert load("lastfm").interactions.weight.tolist() == [90, 7, 1, 8]  # from the cache: the server is gone
    assert capsys.readouterr() == ("", "")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_synthetic_sizes_by_name() -> None:
    dataset = load("synthetic-50x80x700-3")
    assert dataset.synthetic
    assert dataset.name == "synthetic-50x80x700-3"
    pairs = dataset.interactions
    assert (pairs.num_users, pairs.num_items, len(pairs)) == (50, 80, 700)
    assert not np.array_equal(pairs.pair_keys, load("synthetic-50x80x700").interactions.pair_keys)
    default = load("synthetic").interactions
    entry = CATALOG["synthetic"]
    counts = ((default.user_degrees() > 0).sum(), (default.item_degrees() > 0).sum(), len(default))
    assert counts == (entry.users, entry.items, entry.interactions)
    with pytest.raises(InputError, match="made in code"):
        find("synthetic")
    with pytest.raises(InputError, match="50 to 600 interactions"):
        load("synthetic-10x120x9000")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gowala", "unknown data set 'gowala', and no such file or folder; did you mean gowalla"),
        ("Yelp-2018", "did you mean yelp2018"),
        ("zzz", "unknown data set 'zzz', and no such file or folder; catalogue: synthetic, gowalla"),
        ("clicks.csv", "clicks.csv: no such file or folder"),
        ("./gowalla", "./gowalla: no such file or folder"),
        ("data/clicks", "data/clicks: no such file or folder"),
    ],
)
def test_unknown_names(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        load(name)
    assert "\n" not in str(caught.value)
    for each in (find, locate):
        with pytest.raises(InputError, match="unknown data set"):
            each(name)


def test_names_of_the_catalogue_come_before_paths(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lay(tmp_path / "synthetic", {"pairs.csv": "user,item\n1,2\n3,4\n"})
    assert load("synthetic").synthetic
    own = load("./synthetic")
    assert not own.synthetic
    assert len(own.interactions) == 2
    with pytest.raises(InputError, match=r"synthetic is a data set of the catalogue.* write \./synthetic"):
        load("synthetic", format="table")
    with pytest.raises(InputError, match="synthetic is a data set of the catalogue"):
        load("synthetic", columns=Columns(user="user"))


def test_paths_are_read_in_the_given_format(tmp_path: Path) -> None:
    lay(tmp_path, {"a.csv": "who,what,when\n1,2,5\n3,4,6\n", "b.csv": "who,what,when\n1,4,9\n"})
    columns = Columns(user="who", item="what", time="when")
    dataset = load(tmp_path / "a.csv", columns=columns, test=tmp_path / "b.csv")
    assert dataset.default_split == "given"
    assert dataset.parts["test"].to_frame().rows() == [(1, 4, 9.0)]
    assert not dataset.time_is_order


@pytest.mark.parametrize(
    ("file", "text", "ordered"),
    [
        ("sequences.txt", "1 5 4 5 3\n2 3 4 5 6\n", True),  # a repeated item leaves a gap in the order
        ("a.csv", "user,item,order\n1,5,0\n1,4,1\n2,5,0\n", True),
        ("a.csv", "user,item,order\n1,5,1\n1,4,2\n2,5,1\n", True),
        ("a.csv", "user,item,time\n1,5,0\n1,4,2\n2,5,0\n", False),
        ("a.csv", "user,item,time\n1,5,0\n1,4,1\n2,5,1\n", False),
        ("a.csv", "user,item,time\n1,5,100\n1,4,101\n2,5,100\n", False),
    ],
)
@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
def test_order_and_time_are_distinguished(tmp_path: Path, file: str, text: str, ordered: bool) -> None:
    lay(tmp_path, {file: text})
    assert load(tmp_path / file).time_is_order == ordered
    assert load(tmp_path).time_is_order == ordered


TOY = """
[toy]
title = "Toy"
about = "User plays with a toy."
origin = "https://example.org"
terms = "none"
cite = "nothing"
split = "random"
users = 2
items = 2
interactions = 3
downloads = [{ url = "https://example.org/files/plays.csv", checksum = "md5:00" }]
[[toy.layouts]]
format = "table"
needed = { pairs = "plays.csv" }
optional = { items = ["toys.csv", "toys.tsv"] }
columns = { user = "child", item = "toy" }
item_columns = { colour = "paint" }
"""


def test_a_table_of_the_catalogue_is_all_that_a_data_set_needs(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {
            "catalog.toml": TOY,
            "plays.csv": "child,toy\n1,2\n1,3\n2,2\n",
            "toys.tsv": "id\tpaint\tshop\n2\tred\tx\n",
        },
    )
    entry = read_catalog(tmp_path / "catalog.toml")["toy"]
    assert (entry.format, entry.folder, entry.synthetic) == ("table", None, False)
    assert [file.filename for file in entry.downloads] == ["plays.csv"]
    (layout,) = entry.layouts
    files = layout.files_in(tmp_path)
    assert files == {"pairs": tmp_path / "plays.csv", "items": tmp_path / "toys.tsv"}
    dataset = layout.read(files)
    assert dataset.interactions.to_frame().rows() == [(1, 2), (1, 3), (2, 2)]
    assert dataset.item_attributes.to_dicts() == [{"id": 2, "colour": "red"}]
    (tmp_path / "plays.csv").unlink()
    assert layout.files_in(tmp_path) is None


def test_an_unknown_key_of_the_catalogue_is_refused(tmp_path: Path) -> None:
    lay(tmp_path, {"catalog.toml": TOY.replace("[[toy.layouts]]", "colour = 1\n[[toy.layouts]]")})
    with pytest.raises(TypeError, match="colour"):
        read_catalog(tmp_path / "catalog.toml")
