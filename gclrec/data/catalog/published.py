"""What is known of each data set of the catalogue: the facts, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from gclrec.data.catalog import layouts
from gclrec.data.catalog.layouts import FolderLayout

_LIGHTGCN = "https://raw.githubusercontent.com/gusye1234/LightGCN-PyTorch/master/data"
_S3REC = (
    "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/2a81540ae18615d88ef88227b0c066e5b74781e5/data"
)
_CITEULIKE = "https://raw.githubusercontent.com/js05212/citeulike-a/master"
_RECHORUS = "https://raw.githubusercontent.com/THUwangcy/ReChorus/master/data/Grocery_and_Gourmet_Food"


@dataclass(frozen=True, kw_only=True)
class Download:
    """One file with a public address.

    Args:
        url: the address.
        filename: what it is called here; a ``.zip`` is unpacked into the data set's folder.
        checksum: ``"md5:..."`` as published by its makers; ``None`` if they publish none.
    """

    url: str
    filename: str
    checksum: str | None = None


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a data set.

    Args:
        title: a few words.
        about: what a pair is, and what comes with it.
        origin: page of those who made it.
        terms: who may use it for what, in short; those of the source hold.
        cite: what its makers ask to cite.
        format: how its files are written.
        default_split: the name in ``SPLITS`` that is used when none is asked for.
        users: number of users with at least one interaction.
        items: number of items with at least one interaction.
        interactions: number of distinct pairs.
        layouts: ways in which its files may lie in a folder; the first complete one is read.
        downloads: files with a public address; empty where none is known.
        folder: name of its folder, where that is not the name in the catalogue.
    """

    title: str
    about: str
    origin: str
    terms: str
    cite: str
    format: str
    default_split: str
    users: int
    items: int
    interactions: int
    layouts: tuple[FolderLayout, ...] = ()
    downloads: tuple[Download, ...] = ()
    folder: str | None = None

    @property
    def synthetic(self) -> bool:
        """Whether it is made in code, so that nothing has to be found."""
        return not self.layouts


_PARTS = FolderLayout(
    layouts.adjacency_parts,
    {"train": "train.txt", "test": "test.txt"},
    {"valid": "valid.txt", "other_valid": "valid_lightgcnpp.txt"},
)
_YELP_TERMS = "Yelp: academic, non-commercial; not to be passed on"
_AMAZON_TERMS = "none stated; Amazon reviews: research, cite"
_MOVIELENS_TERMS = "GroupLens: research, not commercial; not to be passed on"
_CITEULIKE_TERMS = "none stated; cite"
_LIGHTGCN_PAPER = "He et al., LightGCN, SIGIR 2020, https://arxiv.org/abs/2002.02126"
_S3REC_PAPER = "Zhou et al., S3-Rec, CIKM 2020, https://arxiv.org/abs/2008.07873; He and McAuley, WWW 2016"
_MOVIELENS_PAPER = "Harper and Konstan, TiiS 2015, https://doi.org/10.1145/2827872"
_CITEULIKE_PAPER = "Wang, Chen and Li, IJCAI 2013; Wang and Blei, KDD 2011"


def _lightgcn_files(name: str) -> tuple[Download, ...]:
    return tuple(
        Download(url=f"{_LIGHTGCN}/{name}/{file}", filename=file) for file in ("train.txt", "test.txt")
    )


def _amazon_layouts(name: str) -> tuple[FolderLayout, ...]:
    own = FolderLayout(layouts.sequences, {"pairs": "sequences.txt"}, {"items": "item_attributes.txt"})
    original = {"pairs": f"{name}.txt", "items": f"{name}_item2attributes.json"}
    return own, FolderLayout(layouts.sequences_with_json, original)


def _amazon_files(name: str) -> tuple[Download, ...]:
    files = (f"{name}.txt", f"{name}_item2attributes.json")
    return tuple(Download(url=f"{_S3REC}/{file}", filename=file) for file in files)


def _citeulike_layout(folder: str, *parts: str) -> FolderLayout:
    needed = {part: f"{folder}/{part}.txt" for part in parts}
    return FolderLayout(layouts.citeulike_parts, needed, {"items": "item_tags.txt"})


CATALOG: dict[str, Entry] = {
    "synthetic": Entry(
        title="Synthetic data, made in code",
        about="Not people: a small world with interests, popularity, times and attributes, and known causes.",
        origin="gclrec.data.synthetic",
        terms="none; made by gclrec itself",
        cite="nothing",
        format="made in code",
        default_split="random",
        users=2000,
        items=2978,
        interactions=60_000,
    ),
    "gowalla": Entry(
        title="Gowalla check-ins, LightGCN split",
        about="User checked in at a place; 10-core. LightGCN++'s validation set is used where it is there.",
        origin="https://github.com/gusye1234/LightGCN-PyTorch",
        terms="none stated; raw data is SNAP loc-gowalla",
        cite=f"Cho, Myers and Leskovec, KDD 2011; {_LIGHTGCN_PAPER}",
        format="adjacency",
        default_split="given",
        users=29_858,
        items=40_981,
        interactions=1_027_370,
        layouts=(_PARTS,),
        downloads=_lightgcn_files("gowalla"),
    ),
    "yelp2018": Entry(
        title="Yelp 2018 businesses, LightGCN split",
        about="User reviewed a business; 10-core. LightGCN++'s validation set is used where it is there.",
        origin="https://github.com/gusye1234/LightGCN-PyTorch",
        terms=_YELP_TERMS,
        cite=_LIGHTGCN_PAPER,
        format="adjacency",
        default_split="given",
        users=31_668,
        items=38_048,
        interactions=1_561_406,
        layouts=(_PARTS,),
        downloads=_lightgcn_files("yelp2018"),
    ),
    "amazon-book": Entry(
        title="Amazon books, LightGCN split",
        about="User reviewed a book; 10-core.",
        origin="https://github.com/gusye1234/LightGCN-PyTorch",
        terms=_AMAZON_TERMS,
        cite=f"He and McAuley, WWW 2016; {_LIGHTGCN_PAPER}",
        format="adjacency",
        default_split="given",
        users=52_643,
        items=91_599,
        interactions=2_984_108,
        layouts=(_PARTS,),
        downloads=_lightgcn_files("amazon-book"),
    ),
    "ml-100k": Entry(
        title="MovieLens 100K",
        about="User rated a movie 1 to 5, with time; attributes of users and movies.",
        origin="https://grouplens.org/datasets/movielens/100k/",
        terms=_MOVIELENS_TERMS,
        cite=_MOVIELENS_PAPER,
        format="atomic or movielens",
        default_split="random",
        users=943,
        items=1682,
        interactions=100_000,
        layouts=(
            FolderLayout(
                layouts.atomic, {"pairs": "ml-100k.inter"}, {"users": "ml-100k.user", "items": "ml-100k.item"}
            ),
            FolderLayout(layouts.movielens, {"pairs": "u.data"}, {"users": "u.user", "items": "u.item"}),
        ),
        downloads=(
            Download(
                url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
                filename="ml-100k.zip",
                checksum="md5:0e33842e24a9c977be4e0107933c0723",
            ),
        ),
    ),
    "ml-1m": Entry(
        title="MovieLens 1M",
        about="User rated a movie 1 to 5; attributes of users and movies. The original files have times; "
        "`ratings.tsv` has each user's order only (column `order`, -1 where unknown).",
        origin="https://grouplens.org/datasets/movielens/1m/",
        terms=_MOVIELENS_TERMS,
        cite=_MOVIELENS_PAPER,
        format="movielens or table",
        default_split="random",
        users=6040,
        items=3706,
        interactions=1_000_209,
        layouts=(
            FolderLayout(
                layouts.movielens, {"pairs": "ratings.dat"}, {"users": "users.dat", "items": "movies.dat"}
            ),
            FolderLayout(
                layouts.movielens_ordered,
                {"pairs": "ratings.tsv"},
                {"users": "users.dat", "items": "movies.dat"},
            ),
        ),
        downloads=(
            Download(
                url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
                filename="ml-1m.zip",
                checksum="md5:c4d9eecfca2ab87c1945afe126590906",
            ),
        ),
    ),
    "lastfm": Entry(
        title="Last.fm artists, LightGCN-PyTorch split",
        about="User listened to an artist (HetRec 2011). The original files count ids from 1 and have play "
        "counts.",
        origin="https://github.com/gusye1234/LightGCN-PyTorch",
        terms="HetRec 2011: non-commercial research, cite",
        cite="Cantador, Brusilovsky and Kuflik, HetRec 2011, https://grouplens.org/datasets/hetrec-2011/",
        format="adjacency or pairs",
        default_split="given",
        users=1880,
        items=4489,
        interactions=52_668,
        layouts=(
            _PARTS,
            FolderLayout(layouts.counted_pairs_parts, {"train": "data1.txt", "test": "test1.txt"}),
        ),
        downloads=tuple(
            Download(url=f"{_LIGHTGCN}/lastfm/{file}", filename=file) for file in ("data1.txt", "test1.txt")
        ),
    ),
    "citeulike-a": Entry(
        title="CiteULike articles, warm split",
        about="Researcher keeps an article; tags of the articles. In the published split every test item is "
        "in train; what is downloaded comes without it, and the default is then `random`.",
        origin="https://github.com/js05212/citeulike-a",
        terms=_CITEULIKE_TERMS,
        cite=_CITEULIKE_PAPER,
        format="adjacency",
        default_split="given",
        users=5551,
        items=16_980,
        interactions=204_986,
        layouts=(
            _citeulike_layout("warm_split", "train", "test"),
            FolderLayout(layouts.citeulike_original, {"pairs": "users.dat", "items": "item-tag.dat"}),
        ),
        downloads=tuple(
            Download(url=f"{_CITEULIKE}/{file}", filename=file) for file in ("users.dat", "item-tag.dat")
        ),
    ),
    "citeulike-a-cold": Entry(
        title="CiteULike articles, cold-item split",
        about="The same pairs; published split by items: test items are in neither train nor validation.",
        origin="https://github.com/Zziwei/Heater--Cold-Start-Recommendation",
        terms=_CITEULIKE_TERMS,
        cite=f"{_CITEULIKE_PAPER}; Volkovs et al., DropoutNet, NIPS 2017; Zhu et al., Heater, SIGIR 2020",
        format="adjacency",
        default_split="given",
        users=5551,
        items=16_980,
        interactions=204_986,
        layouts=(_citeulike_layout("cold_item_split", "train", "valid", "test"),),
        folder="citeulike-a",
    ),
    "amazon-beauty": Entry(
        title="Amazon Beauty, 5-core, in order of time",
        about="User reviewed a product; each user's order, no clock; categories and brand of the items.",
        origin="https://github.com/RUCAIBox/CIKM2020-S3Rec",
        terms=_AMAZON_TERMS,
        cite=_S3REC_PAPER,
        format="sequence",
        default_split="leave_one_out",
        users=22_363,
        items=12_101,
        interactions=198_502,
        layouts=_amazon_layouts("Beauty"),
        downloads=_amazon_files("Beauty"),
    ),
    "amazon-sports": Entry(
        title="Amazon Sports and Outdoors, 5-core, in order of time",
        about="User reviewed a product; each user's order, no clock; categories and brand of the items.",
        origin="https://github.com/RUCAIBox/CIKM2020-S3Rec",
        terms=_AMAZON_TERMS,
        cite=_S3REC_PAPER,
        format="sequence",
        default_split="leave_one_out",
        users=35_598,
        items=18_357,
        interactions=296_337,
        layouts=_amazon_layouts("Sports_and_Outdoors"),
        downloads=_amazon_files("Sports_and_Outdoors"),
    ),
    "amazon-grocery": Entry(
        title="Amazon Grocery and Gourmet Food, training part",
        about="User reviewed a product, with time; category of the items. The source holds out each user's "
        "last two events, which are not in these files.",
        origin="https://github.com/THUwangcy/ReChorus",
        terms=_AMAZON_TERMS,
        cite="He and McAuley, WWW 2016; ReChorus, https://github.com/THUwangcy/ReChorus",
        format="table",
        default_split="temporal",
        users=14_681,
        items=8687,
        interactions=121_892,
        layouts=(
            FolderLayout(layouts.grocery, {"pairs": "train_events.tsv"}, {"items": "item_meta.tsv"}),
            FolderLayout(layouts.grocery, {"pairs": "train.csv"}, {"items": "item_meta.csv"}),
        ),
        downloads=tuple(
            Download(url=f"{_RECHORUS}/{file}", filename=file) for file in ("train.csv", "item_meta.csv")
        ),
    ),
    "sparse-yelp": Entry(
        title="Yelp, sparse, SSLRec split",
        about="User reviewed a business; about four training items a user; published validation set. SSLRec "
        "has pickled matrices, which gclrec does not open: write them as lines `user item item ...`.",
        origin="https://github.com/HKUDS/SSLRec",
        terms=_YELP_TERMS,
        cite="Ren et al., SSLRec, WSDM 2024, https://arxiv.org/abs/2308.05697",
        format="adjacency",
        default_split="given",
        users=42_712,
        items=26_822,
        interactions=260_510,
        layouts=(
            FolderLayout(
                layouts.adjacency_parts, {"train": "train.txt", "valid": "valid.txt", "test": "test.txt"}
            ),
        ),
    ),
    "yelp-2019-temporal": Entry(
        title="Yelp 2019, with times and categories",
        about="User reviewed a business in 2019, with rating and time; categories of the items. The "
        "published test pairs have no times and are left out. KCGN has pickled matrices, which gclrec does "
        "not open: write a table user, item, rating, timestamp.",
        origin="https://github.com/xhcdream/KCGN",
        terms=_YELP_TERMS,
        cite="Huang et al., KCGN, AAAI 2021; Ren et al., SSLRec, WSDM 2024",
        format="table",
        default_split="temporal",
        users=43_043,
        items=66_576,
        interactions=283_512,
        layouts=(
            FolderLayout(
                layouts.dated_table, {"pairs": "train_events.tsv"}, {"items": "item_categories.txt"}
            ),
        ),
    ),
}
