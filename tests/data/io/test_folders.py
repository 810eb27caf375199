"""Published splits and folders: which file is what, one vocabulary, and what is reported about them."""

from __future__ import annotations

import gzip
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from gclrec.common.errors import InputError, InputWarning
from gclrec.data.catalog.loader import load
from gclrec.data.io.folders import find_layout
from gclrec.data.io.readers import Columns, read_dataset, read_interactions, read_parts
from gclrec.data.splits import make_split


def write(folder: Path, **files: str) -> Path:
    """Write files; ``train_txt`` becomes ``train.txt`` and ``a__b_csv`` becomes ``a_b.csv``."""
    for name, content in files.items():
        name = name.replace("__", " ").replace("_", ".").replace(" ", "_")
        data = content.encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    return folder


def pairs_of(part):
    return sorted(part.to_frame().select("user", "item").rows())


def test_train_test_valid_share_their_vocabularies(tmp_path):
    write(
        tmp_path,
        train_txt="0 1 2 4\n1 0\n2 3 0\n",
        test_txt_gz="0 3\n2\n",
        valid__any_txt="2 3\n",
        README_md="hello",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = read_dataset(tmp_path)
    assert list(data.parts) == ["train", "valid", "test"]
    assert pairs_of(data.parts["train"]) == [(0, 1), (0, 2), (0, 4), (1, 0), (2, 0), (2, 3)]
    assert pairs_of(data.parts["test"]) == [(0, 3)]
    assert pairs_of(data.parts["valid"]) == [(2, 3)]
    assert pairs_of(data.interactions) == sorted([*pairs_of(data.parts["train"]), (0, 3)])
    assert data.interactions.items.ids.to_list() == [0, 1, 2, 3, 4]
    assert data.default_split == "given"
    assert data.name == str(tmp_path)
    # ids that are 0, 1, 2, ... are their own rows
    assert data.parts["train"].item.tolist() == data.parts["train"].to_frame()["item"].to_list()
    for part in data.parts.values():
        assert part.users is data.interactions.users
        assert part.items is data.interactions.items


def test_parts_are_read_in_one_format(tmp_path):
    """Alone, a file of two columns reads as pairs and one of three as pairs with a weight."""
    write(tmp_path, train_txt="0 1 2\n1 0 2\n", test_txt="0 3 4 5\n1 4\n")
    with pytest.warns(InputWarning, match="0 users and 3 items are not in train"):
        data = read_dataset(tmp_path)
    assert pairs_of(data.parts["train"]) == [(0, 1), (0, 2), (1, 0), (1, 2)]
    assert data.parts["train"].weight is None
    assert len(read_interactions(tmp_path / "train.txt")) == 2


def test_cold_users_and_items_of_test_are_counted(tmp_path):
    write(tmp_path, train_csv="user,item\na,x\nb,x\nb,y\n", test_csv="user,item\nb,z\nc,w\nc,x\n")
    with pytest.warns(
        InputWarning, match=r"test\.csv: 1 users and 2 items are not in train \(they count as cold\)"
    ):
        data = read_dataset(tmp_path)
    assert data.interactions.users.ids.to_list() == ["a", "b", "c"]
    assert data.parts["train"].item_degrees().tolist() == [0, 2, 1, 0]


def test_users_without_items_are_reported_for_train_only(tmp_path):
    write(tmp_path, train_txt="0 1 2 3\n1\n2 3\n", test_txt="0\n2 1\n")
    with pytest.warns(InputWarning, match=r"train\.txt, line 2: a user without items \(1 in all\)") as caught:
        data = read_dataset(tmp_path)
    assert len(caught) == 1
    assert data.parts["train"].user_degrees().tolist() == [3, 0, 1]


def test_pairs_in_train_and_test_are_reported(tmp_path):
    write(
        tmp_path,
        train_csv="user,item\n1,1\n1,2\n2,1\n",
        test_csv="user,item\n1,2\n2,2\n",
        valid_csv="user,item\n2,2\n",
    )
    with pytest.warns(InputWarning) as caught:
        data = read_dataset(tmp_path)
    messages = " / ".join(str(warning.message) for warning in caught)
    assert "test.csv: 1 of its pairs are also in train" in messages
    assert "test.csv: 1 of its pairs are also in valid" in messages
    assert len(data.interactions) == 4


def test_numbers_and_text_ids_meet_as_text(tmp_path):
    write(tmp_path, train_csv="user,item\n1,7\n2,8\n", test_csv="user,item\n1,x9\n2,7\n")
    with pytest.warns(InputWarning):
        data = read_dataset(tmp_path)
    assert data.interactions.items.ids.to_list() == ["7", "8", "x9"]
    assert data.interactions.users.ids.to_list() == [1, 2]


def test_union_has_times_only_where_all_parts_have(tmp_path):
    write(tmp_path, train__events_tsv="user\titem\ttime\n1\t1\t5\n1\t2\t6\n2\t2\t7\n", test_txt="2 1\n")
    with pytest.warns(
        InputWarning, match=r"test\.txt: has no time, unlike train; all parts together have none"
    ):
        data = read_dataset(tmp_path)
    assert data.interactions.time is None
    assert data.parts["train"].time.tolist() == [5, 6, 7]
    write(tmp_path, test_txt="user\titem\ttime\n2\t1\t9\n")
    assert read_dataset(tmp_path).interactions.time.tolist() == [5, 6, 7, 9]


def test_parts_given_one_by_one(tmp_path):
    write(tmp_path, a_txt="0 1 2\n1 0\n", b_txt="0 0\n", c_txt="1 2\n")
    files = {
        part: tmp_path / name for part, name in (("train", "a.txt"), ("test", "b.txt"), ("valid", "c.txt"))
    }
    for data in (read_dataset(files["train"], test=files["test"], valid=files["valid"]), read_parts(files)):
        assert {part: len(pairs) for part, pairs in data.parts.items()} == {"train": 3, "valid": 1, "test": 1}
        assert data.name == str(tmp_path / "a.txt")
    assert read_dataset(files["train"]).parts == {}
    without_test = read_parts({"train": files["train"], "valid": files["valid"]})
    assert without_test.default_split == "given"


def test_matrices_must_agree_in_shape(tmp_path):
    sparse.save_npz(tmp_path / "train.npz", sparse.csr_matrix(np.eye(2, 3)))
    sparse.save_npz(tmp_path / "test.npz", sparse.csr_matrix([[0, 1, 0], [1, 0, 0]]))
    data = read_dataset(tmp_path)
    assert (data.interactions.num_users, data.interactions.num_items) == (2, 3)
    assert pairs_of(data.interactions) == [(0, 0), (0, 1), (1, 0), (1, 1)]
    sparse.save_npz(tmp_path / "test.npz", sparse.csr_matrix(np.ones((3, 2))))
    message = (
        r"test\.npz: found a matrix of 3 x 2, expected the shape of .*train\.npz, 2 x 3 \(rows are users"
    )
    with pytest.raises(InputError, match=message):
        read_dataset(tmp_path)
    (tmp_path / "test.npz").unlink()
    write(tmp_path, test_txt="0 2\n2 1\n")
    with pytest.raises(
        InputError, match=r"test\.txt: found ids outside, such as user 2 or item 2, expected the shape"
    ):
        read_dataset(tmp_path)
    write(tmp_path, test_txt="0 a\n2 b\n")
    with pytest.raises(InputError, match="found ids that are text"):
        read_dataset(tmp_path)


def test_movielens_originals_with_their_attributes(tmp_path):
    write(
        tmp_path,
        ratings_dat="1::10::5::100\n2::10::3::200\n",
        users_dat="1::F::1::10::48067\n2::M::56::16::70072\n",
    )
    (tmp_path / "movies.dat").write_bytes("10::Misérables, Les (1995)::Drama|Musical\n".encode("latin-1"))
    data = read_dataset(tmp_path)
    assert data.interactions.weight.tolist() == [5, 3]
    assert data.user_attributes["gender"].to_list() == ["F", "M"]
    assert data.item_attributes.rows() == [(10, "Misérables, Les (1995)", ["Drama", "Musical"])]
    assert data.parts == {}
    assert data.default_split == "random"


def test_atomic_files_whole_or_in_parts(tmp_path):
    head = "user_id:token\titem_id:token\n"
    write(
        tmp_path,
        ml_user="user_id:token\tage:token\n1\t24\n",
        ml_train_inter=f"{head}1\t2\n1\t3\n",
        ml_test_inter=f"{head}1\t2\n",
    )
    with pytest.warns(InputWarning, match="also in train"):
        data = read_dataset(tmp_path)
    assert {part: len(pairs) for part, pairs in data.parts.items()} == {"train": 2, "test": 1}
    assert data.user_attributes.rows() == [(1, "24")]
    whole = tmp_path / "whole"
    whole.mkdir()
    write(
        whole,
        ml_inter=f"{head}1\t2\n",
        ml_item="item_id:token\tclass:token_seq\n2\ta b\n",
        links_csv="a,b\n1,2\n",
    )
    data = read_dataset(whole)
    assert len(data.interactions) == 1
    assert data.item_attributes.rows() == [(2, ["a", "b"])]


def test_parquet_shards_are_one_table(tmp_path):
    shards = [
        {"user": ["a", "b"], "item": [1, 2]},
        {"user": ["c"], "item": [2]},
        {"user": ["d"], "item": ["z"]},
    ]
    for number, shard in enumerate(shards):
        pl.DataFrame(shard).write_parquet(tmp_path / f"part-{number:05}.parquet")
    (tmp_path / "_SUCCESS").touch()
    assert pairs_of(read_dataset(tmp_path).interactions) == [("a", "1"), ("b", "2"), ("c", "2"), ("d", "z")]
    with pytest.raises(InputError, match="cannot be joined with test parts"):
        read_dataset(tmp_path, test=tmp_path / "part-00000.parquet")
    pl.DataFrame({"user": ["a"], "item": [1], "time": [2]}).write_parquet(tmp_path / "part-00003.parquet")
    with pytest.raises(InputError, match=r"part-00003\.parquet: found user, item, time, expected user, item"):
        read_dataset(tmp_path)


@pytest.mark.parametrize("name", ["ratings.csv", "interactions.csv", "events.csv", "anything.csv"])
def test_one_file_of_interactions(tmp_path, name):
    (tmp_path / name).write_text("user,item\n1,2\n")
    write(tmp_path, item__attributes_csv="item,color\n2,red\n", notes_json="{}")
    data = read_dataset(tmp_path, columns=Columns(user="user"))
    assert pairs_of(data.interactions) == [(1, 2)]
    assert data.item_attributes.rows() == [(2, "red")]


def test_an_unclear_folder_is_refused_with_its_files(tmp_path):
    with pytest.raises(
        InputError, match="cannot tell which file holds the interactions, found nothing; expected"
    ):
        read_dataset(tmp_path)
    write(tmp_path, a_csv="user,item\n1,2\n", b_csv="user,item\n1,2\n")
    with pytest.raises(InputError, match=r"found a\.csv, b\.csv; expected"):
        read_dataset(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_dataset(tmp_path / "nowhere")


def test_two_files_for_one_part_are_refused(tmp_path):
    write(tmp_path, train_txt="0 1 2\n1 0\n", test_txt="0 0\n", valid__a_txt="0 1\n", valid__b_txt="0 2\n")
    with pytest.raises(
        InputError, match=r"several files could be the valid part \(valid_a\.txt, valid_b\.txt\); say which"
    ):
        read_dataset(tmp_path)
    data = read_dataset(tmp_path, valid=tmp_path / "valid_b.txt")
    assert pairs_of(data.parts["valid"]) == [(0, 2)]
    # the exact name wins over others that begin so
    write(tmp_path, valid_txt="1 0\n")
    assert pairs_of(read_dataset(tmp_path).parts["valid"]) == [(1, 0)]


def test_validation_pairs_stay_so_without_a_test_part(tmp_path):
    write(tmp_path, train_csv="user,item\n" + "".join(f"{u},{i}\n" for u in range(9) for i in range(10)))
    write(tmp_path, valid_csv="user,item\n" + "".join(f"{u},{10 + u}\n" for u in range(9)))
    with pytest.warns(InputWarning, match="in train"):
        data = read_dataset(tmp_path / "train.csv", valid=tmp_path / "valid.csv")
    with pytest.warns(InputWarning, match="no test part, so 0.2 of each user's training pairs are held out"):
        split = make_split(data)
    assert pairs_of(split.valid) == [(u, 10 + u) for u in range(9)]
    assert len(split.test) == 18
    assert set(pairs_of(split.train)) | set(pairs_of(split.test)) == set(pairs_of(data.parts["train"]))
    with pytest.warns(InputWarning, match="no test part, so 0 of"):
        assert len(make_split(data, test=0.0).test) == 0


@pytest.mark.parametrize(
    "names", [("train.csv", "train_2.csv"), ("train-00000-of-00002.csv", "train-00001-of-00002.csv")]
)
def test_numbered_files_are_one_part(tmp_path, names):
    for number, name in enumerate(names):
        (tmp_path / name).write_text(f"user,item\n1,{number}\n")
    write(tmp_path, test_csv="user,item\n1,5\n")
    with pytest.warns(InputWarning, match="in train"):
        data = read_dataset(tmp_path)
    assert pairs_of(data.parts["train"]) == [(1, 0), (1, 1)]
    assert [Path(file).name for file in data.files] == [*names, "test.csv"]


def test_numbered_files_are_one_table(tmp_path):
    write(tmp_path, ratings_csv="user,item\n1,0\n", ratings__2024_csv="user,item\n1,1\n")
    assert pairs_of(read_dataset(tmp_path).interactions) == [(1, 0), (1, 1)]
    write(tmp_path, ratings__new_csv="user,item\n1,2\n")
    with pytest.raises(InputError, match=r"cannot tell .*ratings\.csv, ratings_2024\.csv, ratings_new\.csv"):
        read_dataset(tmp_path)


def test_training_pairs_are_not_left_out(tmp_path):
    write(
        tmp_path,
        train_csv="user,item\n1,0\n",
        train__more_csv="user,item\n1,1\n",
        test_csv="user,item\n1,5\n",
    )
    with pytest.raises(InputError, match=r"several files could be the train part \(train\.csv, train_more"):
        read_dataset(tmp_path)


def test_what_is_not_read_is_reported(tmp_path):
    write(tmp_path, ratings_csv="user,item\n1,0\n", other_csv="user,item\n1,1\n", README_txt="hello")
    (tmp_path / "older").mkdir()
    (tmp_path / "images").mkdir()
    write(tmp_path / "older", ratings_csv="user,item\n1,3\n")
    with pytest.warns(InputWarning, match=r"read ratings\.csv, not other\.csv, older/$"):
        data = read_dataset(tmp_path)
    assert pairs_of(data.interactions) == [(1, 0)]


def test_partitioned_folders_are_columns(tmp_path):
    for day, item in (("2024-01-02", 7), ("2024-01-03", 8)):
        folder = tmp_path / f"date={day}"
        folder.mkdir()
        pl.DataFrame({"user": ["a"], "item": [item]}).write_parquet(folder / "part-0.parquet")
    pairs = read_dataset(tmp_path).interactions
    assert pairs.to_frame().select("item", "time").rows() == [(7, 1704153600), (8, 1704240000)]
    (folder / "part-1.csv").write_text("user,item\na,9\n")
    with pytest.raises(InputError, match="expected Parquet files alone"):
        read_dataset(tmp_path)


def test_a_folder_above_is_no_column_of_ids(tmp_path):
    folder = tmp_path / "user=me"
    folder.mkdir()
    pl.DataFrame({"customer": ["a", "b"], "item": [1, 2]}).write_parquet(folder / "a.parquet")
    assert read_interactions(folder / "a.parquet").users.ids.to_list() == ["a", "b"]
    named = read_interactions(folder / "a.parquet", columns=Columns(user="user"))
    assert named.users.ids.to_list() == ["me"]


@pytest.mark.parametrize("empty", ["", "user,item\n"])
def test_empty_files_of_a_table_are_passed_over(tmp_path, empty):
    for number, content in enumerate((empty, "user,item\na,x\n", empty, "user,item\nb,y\n")):
        (tmp_path / f"part-0000{number}.csv").write_text(content)
    assert pairs_of(read_dataset(tmp_path).interactions) == [("a", "x"), ("b", "y")]
    for path in tmp_path.iterdir():
        path.write_text(empty)
    with pytest.raises(InputError, match=r"empty|no rows"):
        read_dataset(tmp_path)


def test_empty_parquet_files_are_passed_over(tmp_path):
    table = pl.DataFrame({"user": ["a"], "item": [1]})
    table.write_parquet(tmp_path / "part-1.parquet")
    table.clear().write_parquet(tmp_path / "part-0.parquet")
    (tmp_path / "part-2.parquet").touch()
    assert pairs_of(read_dataset(tmp_path).interactions) == [("a", 1)]


def test_several_attribute_files_are_not_guessed_at(tmp_path):
    write(tmp_path, ratings_csv="user,item\n1,2\n", items_csv="item,a\n2,b\n", item__tags_txt="2 5\n")
    with pytest.warns(
        InputWarning, match=r"several files could hold item attributes \(item_tags\.txt, items\.csv\)"
    ):
        assert "item" not in find_layout(tmp_path).attributes


# folder -> users, items, pairs in all, pairs by part; the counts that its README verifies
VERIFIED = {
    "gowalla": (29_858, 40_981, 1_027_370, {"train": 810_128, "valid": 91_047, "test": 217_242}),
    "yelp2018": (31_668, 38_048, 1_561_406, {"train": 1_237_259, "valid": 143_751, "test": 324_147}),
    "sparse-yelp": (42_712, 26_822, 260_510, {"train": 182_357, "valid": 13_025, "test": 65_128}),
    "lastfm": (1_880, 4_489, 52_668, {"train": 42_135, "test": 10_533}),
    "ml-100k": (943, 1_682, 100_000, {}),
    "ml-1m": (6_040, 3_706, 1_000_209, {}),
    "citeulike-a": (5_551, 16_980, 204_986, {}),
    "citeulike-a/cold_item_split": (
        5_551,
        16_980,
        204_986,
        {"train": 164_210, "valid": 13_037, "test": 27_739},
    ),
    "citeulike-a/warm_split": (5_551, 16_980, 204_986, {"train": 170_988, "test": 33_998}),
    "amazon-beauty": (22_363, 12_101, 198_502, {}),
    "amazon-sports": (35_598, 18_357, 296_337, {}),
    "amazon-grocery": (14_681, 8_687, 121_892, {}),
    "yelp-2019-temporal": (43_043, 66_576, 324_211, {"train": 283_512, "test": 40_699}),
}


@pytest.mark.parametrize(("name", "counts"), VERIFIED.items(), ids=VERIFIED)
@pytest.mark.filterwarnings("ignore::gclrec.common.errors.InputWarning")
def test_real_data_has_the_verified_counts(real_dataset: Callable[[str], Path], name, counts):
    users, items, pairs, parts = counts
    data = read_dataset(real_dataset(name))
    assert (data.interactions.num_users, data.interactions.num_items, len(data.interactions)) == (
        users,
        items,
        pairs,
    )
    assert {part: len(pairs) for part, pairs in data.parts.items()} == parts
    if name in ("gowalla", "yelp2018", "sparse-yelp"):
        assert data.interactions.items.ids.to_list() == list(range(items))


def test_real_ratings_and_times(real_dataset: Callable[[str], Path]):
    small = read_dataset(real_dataset("ml-100k")).interactions
    assert np.count_nonzero(small.weight >= 4) == 55_375
    assert (small.time.min(), small.time.max()) == (874_724_710, 893_286_638)
    large = read_dataset(real_dataset("ml-1m")).interactions
    assert np.bincount(large.weight.astype(int)).tolist() == [0, 56_174, 107_557, 261_197, 348_971, 226_310]
    assert np.count_nonzero(large.time == -1) == 598
    beauty = read_dataset(real_dataset("amazon-beauty")).interactions
    order = beauty.select(beauty.user == 1)
    assert beauty.items.raw(order.item[np.argsort(order.time)]).to_list() == [6, 7, 8, 9, 10, 4, 11]
    grocery = read_dataset(real_dataset("amazon-grocery")).interactions
    assert (grocery.time.min(), grocery.time.max()) == (965_779_200, 1_405_987_200)


def test_a_pattern_names_the_files_of_one_table(tmp_path: Path) -> None:
    for day, (user, item) in {"05": ("a", "x"), "06": ("b", "y"), "07": ("a", "z")}.items():
        folder = tmp_path / f"day={day}"
        folder.mkdir()
        pl.DataFrame({"user": [user], "item": [item]}).write_parquet(folder / "part-0.parquet")
    read = read_dataset(tmp_path / "day=0[56]" / "*.parquet")
    assert pairs_of(read.interactions) == [("a", "x"), ("b", "y")]
    assert len(read.files) == 2
    assert len(load(f"{tmp_path}/**/*.parquet").interactions) == 3
    (tmp_path / "a[5].parquet").write_bytes((tmp_path / "day=05" / "part-0.parquet").read_bytes())
    assert pairs_of(load(tmp_path / "a[5].parquet").interactions) == [("a", "x")]


@pytest.mark.parametrize(("pattern", "said"), [("no-*.csv", "no such file"), ("day*", "only folders match")])
def test_patterns_without_files(tmp_path: Path, pattern: str, said: str) -> None:
    (tmp_path / "day=05").mkdir()
    with pytest.raises(InputError, match=said):
        load(tmp_path / pattern)
