"""Errors that name an argument."""

from __future__ import annotations

import pytest

from gclrec.common.errors import InputError, NoRowsError, SettingError, check_choice, reading


def test_a_setting_error_has_its_argument_apart_from_the_message() -> None:
    error = SettingError("layer", "must be even, got 3")
    assert isinstance(error, InputError)
    assert (error.argument, error.message) == ("layer", "must be even, got 3")
    assert str(error) == "layer: must be even, got 3"


def test_a_choice_is_checked_by_name() -> None:
    check_choice("form", "egcf", ("egcf", "sccf"))
    with pytest.raises(SettingError, match=r"^form: must be one of egcf, sccf, got 'x'$"):
        check_choice("form", "x", ("egcf", "sccf"))


class PanicException(BaseException):
    """Stands for that of Polars, which no ``except Exception`` catches."""


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("bad\nvalue"), "a.csv: is damaged (bad)"),
        (KeyError(), "a.csv: is damaged (KeyError)"),
        (RecursionError("maximum recursion depth"), "a.csv: is damaged (it is nested too deeply)"),
        (MemoryError(), "a.csv: is damaged (it asks for more memory than there is)"),
        (PanicException("index out of bounds"), "a.csv: is damaged (index out of bounds)"),
        (PermissionError(13, "Permission denied"), "a.csv: is damaged (Permission denied)"),
        (FileNotFoundError(2, "No such file"), "a.csv: no such file"),
        (NoRowsError("a.csv: holds a header but no rows"), "a.csv: holds a header but no rows"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_whatever_a_reader_raises_is_one_line(error: BaseException, said: str) -> None:
    with pytest.raises(InputError) as caught, reading("a.csv", "is damaged"):
        raise error
    assert str(caught.value) == said


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, UserWarning, NameError])
def test_what_is_no_fault_of_the_file_passes(error: type[BaseException]) -> None:
    with pytest.raises(error), reading("a.csv"):
        raise error
