"""Filters on item attributes, such as ``genre = comedy and year >= 1990``: a small grammar, read by descent.

    filter     = conjunction {"or" conjunction}
    conjunction = negation {"and" negation}
    negation   = ["not"] (comparison | "(" filter ")")
    comparison = field ("=" | "!=" | "<" | "<=" | ">" | ">=") value
               | field ["not"] "in" "(" value {"," value} ")"

A field or a value is a word, a number, or text between single or double quotes. A list, such as the genres
of a film, equals a value if it holds it. An item without a value satisfies no comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import polars as pl

from gclrec.common.errors import InputError
from gclrec.data.interactions import BoolArray

LONGEST_FILTER = 2_000
"""Characters of a filter."""

_DEEPEST = 50
_TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')|(?P<sign><=|>=|!=|==|[=<>(),])"""
    r"""|(?P<word>[^\s=<>!(),"']+))"""
)
_SIGNS = ("=", "==", "!=", "<", "<=", ">", ">=")
_KEYWORDS = ("and", "or", "not", "in")


class FilterError(InputError):
    """A filter that cannot be read or does not fit the attributes.

    Args:
        position: of the character, from 1.
        message: what was found and what was expected there.
    """

    def __init__(self, position: int, message: str) -> None:
        super().__init__(f"filter, position {position}: {message}")
        self.position = position


class _Token(NamedTuple):
    kind: str  # "text", "sign", "word" or "end"
    text: str
    position: int

    def says(self, *words: str) -> bool:
        return self.kind == "word" and self.text.lower() in words

    def __str__(self) -> str:
        return "the end" if self.kind == "end" else repr(self.text)


Mask = Callable[[pl.DataFrame], BoolArray]
"""From the attributes of ``I`` items to ``(I,)`` whether each satisfies a condition."""


def parsed_filter(text: str, table: pl.DataFrame) -> BoolArray:
    """Return which rows of a table satisfy a filter, ``(I,)``.

    Args:
        text: the filter.
        table: attributes of ``I`` items: numbers, text, or lists of these.

    Raises:
        FilterError: the filter is malformed, or names a field or compares a value that does not fit.

    Example:
        >>> films = pl.DataFrame({"genre": [["comedy", "war"], ["war"], None], "year": [1990, 1985, 2001]})
        >>> parsed_filter("genre = comedy or year > 2000", films).tolist()
        [True, False, True]
        >>> parsed_filter("genre = ", films)
        Traceback (most recent call last):
        ...
        gclrec.serving.expression.FilterError: filter, position 9: found the end, expected a value
    """
    if len(text) > LONGEST_FILTER:
        raise FilterError(
            LONGEST_FILTER + 1, f"found {len(text):,} characters, expected at most {LONGEST_FILTER:,}"
        )
    parser = _Parser(_tokens(text), table)
    mask = parser.either(0)
    last = parser.take()
    if last.kind != "end":
        raise FilterError(last.position, f"found {last}, expected and, or, or the end")
    return mask


def _tokens(text: str) -> list[_Token]:
    found, place = [], 0
    while text[place:].strip():
        match = _TOKEN.match(text, place)
        if match is None or match.lastgroup is None:
            start = place + len(text[place:]) - len(text[place:].lstrip())
            what = "a quote that is not closed" if text[start] in "\"'" else repr(text[start])
            raise FilterError(start + 1, f"found {what}, expected a field, a value or a comparison")
        kind = match.lastgroup
        word = match[kind]
        plain = re.sub(r"\\(.)", r"\1", word[1:-1]) if kind == "text" else word
        found.append(_Token(kind, plain, match.start(kind) + 1))
        place = match.end()
    return [*found, _Token("end", "", len(text) + 1)]


class _Parser:
    def __init__(self, tokens: list[_Token], table: pl.DataFrame) -> None:
        self._tokens, self._table, self._next = tokens, table, 0

    def take(self) -> _Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _at(self, *words: str) -> bool:
        return self._tokens[self._next].says(*words)

    def either(self, depth: int) -> BoolArray:
        """Read a filter."""
        mask = self._both(depth)
        while self._at("or"):
            self.take()
            mask = mask | self._both(depth)
        return mask

    def _both(self, depth: int) -> BoolArray:
        mask = self._negation(depth)
        while self._at("and"):
            self.take()
            mask = mask & self._negation(depth)
        return mask

    def _negation(self, depth: int) -> BoolArray:
        token = self.take()
        if depth > _DEEPEST:
            raise FilterError(token.position, f"nested more than {_DEEPEST} deep")
        if token.says("not"):
            return ~self._negation(depth + 1)
        if token.text != "(" or token.kind != "sign":
            return self._comparison(token)
        mask = self.either(depth + 1)
        self._expect(")")
        return mask

    def _expect(self, sign: str) -> None:
        token = self.take()
        if token.kind != "sign" or token.text != sign:
            raise FilterError(token.position, f"found {token}, expected {sign!r}")

    def _comparison(self, field: _Token) -> BoolArray:
        if field.kind not in ("word", "text") or field.says(*_KEYWORDS):
            raise FilterError(field.position, f"found {field}, expected a field")
        if field.text not in self._table.columns:
            known = ", ".join(self._table.columns) or "none: the items have no attributes"
            raise FilterError(field.position, f"unknown field {field.text!r}, expected one of {known}")
        sign = self.take()
        negated = sign.says("not")
        if negated:
            sign = self.take()
        if sign.says("in"):
            return self._in(field, negated)
        if negated or sign.kind != "sign" or sign.text not in _SIGNS:
            expected = "in" if negated else f"one of {' '.join(_SIGNS)} or in"
            raise FilterError(sign.position, f"found {sign}, expected {expected}")
        return _compared(self._table[field.text], sign.text, self._value())

    def _in(self, field: _Token, negated: bool) -> BoolArray:
        self._expect("(")
        values = [self._value()]
        while (token := self.take()).kind == "sign" and token.text == ",":
            values.append(self._value())
        if token.kind != "sign" or token.text != ")":
            raise FilterError(token.position, f"found {token}, expected ',' or ')'")
        column = self._table[field.text]
        masks = [_compared(column, "=", value) for value in values]
        mask: BoolArray = np.logical_or.reduce(masks)
        return ~mask & column.is_not_null().to_numpy() if negated else mask

    def _value(self) -> _Token:
        token = self.take()
        if token.kind not in ("word", "text") or token.says(*_KEYWORDS):
            raise FilterError(token.position, f"found {token}, expected a value")
        return token


def _compared(column: pl.Series, sign: str, value: _Token) -> BoolArray:
    """Return where a column compares with a value; false where it has none."""
    dtype = column.dtype
    listed = isinstance(dtype, pl.List)
    inner = dtype.inner if isinstance(dtype, pl.List) else dtype
    if listed and sign not in ("=", "==", "!="):
        raise FilterError(value.position, f"{column.name!r} holds lists, which = and != compare")
    other: str | float = value.text
    if isinstance(inner, pl.DataType) and inner.is_numeric():
        try:
            other = (
                float(value.text) if inner.is_float() or not _WHOLE.fullmatch(value.text) else int(value.text)
            )
        except ValueError:
            raise FilterError(
                value.position, f"found {value}, expected a number, as {column.name!r} holds"
            ) from None
    elif inner == pl.Boolean:
        if value.text.lower() not in ("true", "false"):
            raise FilterError(value.position, f"found {value}, expected true or false")
        other = value.text.lower() == "true"
    if isinstance(other, int) and not -(2**63) <= other < 2**63:
        other = float(other)
    known = column.is_not_null()
    same = pl.Series([other])
    if listed:
        found = column.list.contains(other).fill_null(value=False)
        if sign == "!=":
            found = ~found
    else:
        found = {
            "=": column.__eq__, "==": column.__eq__, "!=": column.__ne__,
            "<": column.__lt__, "<=": column.__le__, ">": column.__gt__, ">=": column.__ge__,
        }[sign](same)  # fmt: skip
    mask: BoolArray = (found.fill_null(value=False) & known).to_numpy()
    return mask


_WHOLE = re.compile(r"[+-]?\d{1,30}")
