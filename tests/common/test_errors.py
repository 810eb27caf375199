"""Errors that name an argument."""

from __future__ import annotations

import pytest

from gclrec.common.errors import InputError, SettingError, check_choice


def test_a_setting_error_has_its_argument_apart_from_the_message() -> None:
    error = SettingError("layer", "must be even, got 3")
    assert isinstance(error, InputError)
    assert (error.argument, error.message) == ("layer", "must be even, got 3")
    assert str(error) == "layer: must be even, got 3"


def test_a_choice_is_checked_by_name() -> None:
    check_choice("form", "egcf", ("egcf", "sccf"))
    with pytest.raises(SettingError, match=r"^form: must be one of egcf, sccf, got 'x'$"):
        check_choice("form", "x", ("egcf", "sccf"))
