"""The grammar of filters: precedence, types, missing values, and errors that name the position."""

from __future__ import annotations

import random

import polars as pl
import pytest

from gclrec.serving.expression import FilterError, parsed_filter

FILMS = pl.DataFrame(
    {
        "id": ["a", "b", "c", "d", "e"],
        "genre": ["comedy", "war", None, "sci fi", "and"],
        "tags": [["x", "y"], ["y"], [], None, ["z"]],
        "codes": [[1, 2], [2], None, [3], []],
        "year": [1990, 1985, 2001, None, 2010],
        "score": [0.5, 1.0, float("inf"), None, -2.0],
        "seen": [True, False, None, True, False],
        "big": [2**62, 2**62 + 1, 0, None, -1],
    },
    schema_overrides={"codes": pl.List(pl.Int64)},
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("genre = comedy", "a"),
        ("genre == 'sci fi' OR genre = \"and\"", "de"),
        ("genre != comedy", "bde"),
        ("not genre = comedy", "bcde"),
        ("year >= 1990 and year < 2010", "ac"),
        ("year>1985 and not(year=2001)", "ae"),
        ("genre = war or genre = comedy and year > 2000", "b"),
        ("(genre = war or genre = comedy) and year > 1987", "a"),
        ("year in (1985, 2010)", "be"),
        ("year not in (1985, 2010)", "ac"),
        ("tags = y", "ab"),
        ("tags != y", "ce"),
        ("tags in (x, z)", "ae"),
        ("codes = 2", "ab"),
        ("score >= 0.5", "abc"),
        ("score < -1.5", "e"),
        ("year > 1984.5 and year < 1990.5", "ab"),
        ("seen = true", "ad"),
        ("seen != TRUE", "be"),
        ("big = 4611686018427387905", "b"),
        ("big < 99999999999999999999", "abce"),
        ("id >= c", "cde"),
        ("not not not year = 1990", "bcde"),
        (r"genre = 'it\'s'", ""),
    ],
)
def test_filters(text: str, found: str) -> None:
    mask = parsed_filter(text, FILMS)
    assert "".join(FILMS["id"].filter(pl.Series(mask))) == found


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 1, "found the end, expected a field"),
        ("genre = ", 9, "found the end, expected a value"),
        ("genre comedy", 7, "found 'comedy', expected one of"),
        ("colour = red", 1, "unknown field 'colour', expected one of id, genre"),
        ("year = 1990 and", 16, "expected a field"),
        ("year = 1990 year = 2", 13, "expected and, or, or the end"),
        ("(year = 1990", 13, "expected ')'"),
        ("year = abc", 8, "expected a number, as 'year' holds"),
        ("year in 1990", 9, "expected '('"),
        ("year in (1990 2)", 15, "expected ',' or ')'"),
        ("year not = 3", 10, "found '=', expected in"),
        ("tags < y", 8, "holds lists"),
        ("genre = 'war", 9, "a quote that is not closed"),
        ("seen = maybe", 8, "expected true or false"),
        ("genre = and", 9, "found 'and', expected a value"),
        ("year ! 3", 6, "found '!'"),
        ("(" * 60 + "year = 1" + ")" * 60, 52, "nested more than"),
        ("not " * 60 + "year = 1", 205, "nested more than"),
        ("year = 1 or " * 200 + "year = 1", 2001, "found 2,408 characters, expected at most 2,000"),
    ],
)
def test_errors_name_the_position(text: str, position: int, message: str) -> None:
    with pytest.raises(FilterError, match="filter, position") as raised:
        parsed_filter(text, FILMS)
    assert raised.value.position == position
    assert message in str(raised.value)


def test_anything_is_a_filter_or_a_filter_error() -> None:
    words = [
        "year",
        "genre",
        "=",
        "!=",
        "<",
        "in",
        "not",
        "and",
        "or",
        "(",
        ")",
        ",",
        "1990",
        "'war'",
        "x",
        '"',
        ".",
    ]
    shuffled = random.Random(0)
    outcomes = set()
    for _ in range(3000):
        text = " ".join(shuffled.choices(words, k=shuffled.randint(1, 8)))
        try:
            outcomes.add(parsed_filter(text, FILMS).shape)
        except FilterError as error:
            outcomes.add(1 <= error.position <= len(text) + 1)
    assert outcomes == {(5,), True}
