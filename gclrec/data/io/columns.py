"""Find the columns of a table, and convert their values to ids, numbers and times.

A column that cannot be found, and a value that is missing or of the wrong kind, raise
:class:`~gclrec.common.errors.InputError`, which names the column and the row.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Literal

import polars as pl

from gclrec.common.errors import InputError, InputWarning, SettingError
from gclrec.data.io.ids import Place, exact_ids, refuse_first
from gclrec.data.io.numbering import CODED

AnyPath = str | PathLike[str]

_ISO = "an ISO date such as 2024-01-05 10:00:00"
_DATE_FORMATS = ("%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f%#z")


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Names of the columns that should not be guessed, and how a text table is laid out.

    Formats without a header have fixed columns, of which only ``""`` has an effect.

    Args:
        user: column of user ids.
        item: column of item ids.
        time: column of times; ``""`` reads none.
        weight: column of ratings or other weights; ``""`` reads none.
        user_id: column of ids in a table of user attributes.
        item_id: column of ids in a table of item attributes.
        quote: character around fields of CSV and TSV; ``none`` if quotes have no meaning.
        header: whether the first line of CSV and TSV names the columns; otherwise they are called ``1``,
            ``2`` and so on.
        usual: column names by role, such as those of another file, which are taken before any guess.
    """

    user: str | None = None
    item: str | None = None
    time: str | None = None
    weight: str | None = None
    user_id: str | None = None
    item_id: str | None = None
    quote: str = '"'
    header: bool = True
    usual: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, settings: Any) -> Columns:
        """Return what settings say of columns: ``user_column``, ``user_id_column``, ``quote`` and so on."""
        roles = ("user", "item", "time", "weight", "user_id", "item_id")
        names = {role: getattr(settings, f"{role}_column") for role in roles}
        return cls(**names, quote=settings.quote, header=not settings.no_header)

    @property
    def quote_char(self) -> str | None:
        """The character around fields, ``None`` if quotes have no meaning."""
        if self.quote == "none":
            return None
        if len(self.quote) != 1 or not self.quote.isascii() or self.quote.isalnum() or self.quote.isspace():
            raise SettingError("quote", f"found {self.quote!r}, expected one character such as ' or none")
        return self.quote


@dataclass(frozen=True, eq=False)
class RawInteractions:
    """Interactions of one file in raw ids.

    Args:
        frame: columns ``user``, ``item`` and, if known, ``time``, ``weight``; in file order.
        users: all user ids of the file, if there are more than in ``frame["user"]``.
        items: the same for items.
        shape: shape of the file's matrix, ``None`` if it is no matrix.
        without_items: number of users without an item.
        first_without_items: the place of the first of them.
    """

    frame: pl.DataFrame
    users: pl.Series | None = None
    items: pl.Series | None = None
    shape: tuple[int, int] | None = None
    without_items: int = 0
    first_without_items: str = ""


def pick_columns(names: Sequence[str], columns: Columns, path: str | PathLike[str]) -> dict[str, int]:
    """Return the positions of the ``user``, ``item``, ``time`` and ``weight`` columns of a table.

    Given names must exist, in upper or lower case. The others are guessed from :data:`GUESSES`, where the
    earlier name wins, with an :class:`~gclrec.InputWarning` if several fit. Time and weight may be absent.
    """
    found = ", ".join(names)
    picked: dict[str, int] = {}
    for role in GUESSES:
        name = getattr(columns, role)
        if name:
            same = [n for n, other in enumerate(names) if other == name]
            same = same or [n for n, other in enumerate(names) if other.lower() == name.lower()]
            if len(same) != 1:
                problem = f"no column {name!r}" if not same else f"{len(same)} columns named {name!r}"
                raise InputError(f"{path}: {problem} to read as {role}; the columns are: {found}")
            picked[role] = same[0]
    for role in GUESSES:
        usual = columns.usual.get(role)
        if getattr(columns, role) is None and usual in names and names.index(usual) not in picked.values():
            picked[role] = names.index(usual)
    for role in GUESSES:
        if getattr(columns, role) is None and role not in picked:
            fitting = fitting_columns(names, role, taken=picked.values())
            if fitting:
                picked[role] = fitting[0]
                _warn_of_others(names, fitting, role, path)
    if len(set(picked.values())) < len(picked):
        roles = [role for role, at in picked.items() if [*picked.values()].count(at) > 1]
        name = names[picked[roles[0]]]
        raise InputError(
            f"{path}: column {name!r} is named for {' and '.join(roles)}, expected one column each"
        )
    missing = [role for role in ("user", "item") if role not in picked]
    if missing:
        arguments = " and ".join(f"`{role}_column`" for role in missing)
        what = " and ".join(missing) + (" columns" if len(missing) > 1 else " column")
        raise InputError(f"{path}: cannot guess the {what}; name with {arguments}; the columns are: {found}")
    return {role: picked[role] for role in GUESSES if role in picked}


def guess_column(names: Sequence[str], role: str, taken: Iterable[int] = ()) -> int | None:
    """Return the position of the most likely column of a role, ``None`` if no name fits."""
    return next(iter(fitting_columns(names, role, taken)), None)


def fitting_columns(names: Sequence[str], role: str, taken: Iterable[int] = ()) -> list[int]:
    """Return the positions of the columns whose names fit a role, the most likely first."""
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    used = set(taken)
    fits = (at for guess in GUESSES[role] for at, name in enumerate(plain) if name == guess)
    return [position for position in fits if position not in used]


def _warn_of_others(
    names: Sequence[str], fitting: Sequence[int], role: str, path: str | PathLike[str]
) -> None:
    if len(fitting) > 1:
        chosen, *others = (
            f"{names[at]!r}" if names.count(names[at]) == 1 else f"{names[at]!r} (column {at + 1})"
            for at in fitting
        )
        message = f"{path}: read {chosen} as {role}, not {' or '.join(others)}"
        warnings.warn(f"{message}; name another with `{role}_column`", InputWarning, stacklevel=4)


def typed_interactions(raw: pl.DataFrame, names: Mapping[str, str], place: Place) -> pl.DataFrame:
    """Convert raw values to ids, times and weights.

    Args:
        raw: columns ``user``, ``item`` and maybe ``time``, ``weight``, as read.
        names: their names in the file, for error messages.
        place: returns the place of a row, for error messages.

    Returns:
        The same rows; ids ``Int64`` or ``String`` (coded text stays coded), times ``Int64``, ``Float64`` or
        ``Datetime``, weights ``Float64``.
    """
    readers = {"user": exact_ids, "item": exact_ids, "time": time_values, "weight": number_values}
    return pl.DataFrame(
        {
            role: reader(raw[role], names[role], place)
            for role, reader in readers.items()
            if role in raw.columns
        }
    )


def number_values(
    values: pl.Series, name: str, place: Place, *, expected: str = "a finite number"
) -> pl.Series:
    """Return finite numbers as ``Float64``; an error says that ``expected`` was expected."""
    if values.dtype.is_nested() or values.dtype.is_temporal() or values.dtype in (pl.Binary, pl.Object):
        raise InputError(f"{place(0)}: column {name!r} holds {values.dtype}, expected numbers")
    if isinstance(values.dtype, CODED):
        values = values.cast(pl.String)
    text = values.str.strip_chars() if values.dtype == pl.String else values
    numbers = text.cast(pl.Float64, strict=False)
    refuse_first(~numbers.is_finite().fill_null(value=False), values, name, place, expected)
    return numbers


def time_values(values: pl.Series, name: str, place: Place) -> pl.Series:
    """Return times: whole numbers as ``Int64``, other numbers as ``Float64``, dates as ``Datetime`` (UTC).

    Dates have a date type or are ISO text such as ``2020-02-01`` or ``2020-02-01T10:00:00Z``; without a time
    zone they are UTC. :func:`numeric_times` makes numbers of them.
    """
    if values.dtype in (pl.Date, pl.Datetime):
        moments = values.cast(pl.Datetime("us")) if values.dtype == pl.Date else values
        refuse_first(moments.is_null(), values, name, place, "a time")
        return moments if getattr(moments.dtype, "time_zone", None) is None else _utc(moments)
    if isinstance(values.dtype, CODED):
        values = values.cast(pl.String)
    text = values.dtype == pl.String
    if text and values.head(1).str.contains(r"^\s*\d{4}-\d").any():
        moments = _iso_moments(values)
        refuse_first(moments.is_null(), values, name, place, _ISO)
        return _utc(moments)
    if text or values.dtype.is_integer():
        whole = (values.str.strip_chars() if text else values).cast(pl.Int64, strict=False)
        if not whole.null_count():
            return whole
        if not text:
            refuse_first(whole.is_null(), values, name, place, "a whole number below 2**63")
    numbers = number_values(
        values, name, place, expected=f"a finite number or {_ISO}" if text else "a finite number"
    )
    _warn_of_ties(numbers, name, place)
    return numbers


def numeric_times(frames: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return tables whose dates are numbers in one unit: seconds since 1970.

    They are ``Int64`` if all are whole seconds, else ``Float64``, which holds microseconds exactly. If that
    would lose nanoseconds, they are ``Int64`` nanoseconds since 1970.
    """
    times = [frame["time"] for frame in frames if "time" in frame.columns]
    dates = [time for time in times if time.dtype.is_temporal()]
    if not dates:
        return list(frames)
    if len(dates) == len(times) and any(
        time.dtype == pl.Datetime("ns") and (time.dt.timestamp("ns") % 1000 != 0).any() for time in dates
    ):
        number = pl.col("time").dt.timestamp("ns")
    else:
        number = pl.col("time").dt.timestamp("us")
        whole = all((time.dt.timestamp("us") % 1_000_000 == 0).all() for time in dates)
        number = number // 1_000_000 if whole else number / 1e6
    return [frame.with_columns(number) if _has_dates(frame) else frame for frame in frames]


def _has_dates(frame: pl.DataFrame) -> bool:
    return "time" in frame.columns and frame.schema["time"].is_temporal()


def _utc(moments: pl.Series) -> pl.Series:
    return moments.dt.convert_time_zone("UTC").dt.replace_time_zone(None)


def _warn_of_ties(numbers: pl.Series, name: str, place: Place) -> None:
    """Warn of numbers so large that ``Float64`` has one value for several whole numbers."""
    large = numbers.filter(numbers.abs() > 2**53)
    if ties := len(large) - large.n_unique():
        problem = f"{ties:,} times in column {name!r} are equal to others, since Float64 rounds numbers"
        message = f"{place(0)}: {problem} above 2**53; store them as whole numbers to keep their order"
        warnings.warn(message, InputWarning, stacklevel=5)


def _iso_moments(text: pl.Series) -> pl.Series:
    plain = text.str.strip_chars().str.replace(" UTC", "Z", literal=True).str.replace(" ", "T", literal=True)
    unit: Literal["ns", "us"] = "ns" if plain.str.contains(r"\.\d{7}").any() else "us"
    parsed = {form: _moments(plain.head(1), form, unit) for form in _DATE_FORMATS}
    likely = sorted(
        _DATE_FORMATS, key=lambda form: parsed[form].null_count()
    )  # the first value's format first
    moments = _moments(plain, likely[0], unit)
    for form in likely[1:]:
        if moments.null_count():
            moments = moments.zip_with(moments.is_not_null(), _moments(plain, form, unit))
    return moments


def _moments(text: pl.Series, form: str, unit: Literal["ns", "us"]) -> pl.Series:
    return text.str.to_datetime(form, time_unit=unit, time_zone="UTC", strict=False)


_USER = """
    user userid uid users usersid userno username useridx userindex customer customerid visitor visitorid
    reviewer reviewerid member memberid account accountid client clientid buyer buyerid reader readerid
    viewer viewerid
"""
_ITEM = """
    item itemid iid items itemno itemidx itemindex movie movieid product productid asin parentasin business
    businessid artist artistid track trackid song songid book bookid isbn article articleid sku video videoid
    game gameid news newsid venue venueid location locationid poi poiid recipe recipeid anime animeid
"""
_TIME = """
    timestamp time datetime date ts unixtime unixreviewtime unixtimestamp eventtime createdat utctimestamp
    order
"""
_WEIGHT = """
    weight rating score stars star overall rate count playcount plays clicks frequency listeningcount
"""
GUESSES = {
    role: tuple(names.split())
    for role, names in (("user", _USER), ("item", _ITEM), ("time", _TIME), ("weight", _WEIGHT))
}
"""Column names by role, the most likely first; compared in lower case, letters and digits only."""
