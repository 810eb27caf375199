"""How the data commands read, filter and split a data set."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from gclrec.common.errors import SettingError
from gclrec.data.interactions import Dataset
from gclrec.data.splits import SPLITS, Split, make_split


@Parameter(name="*", negative=())
@dataclass(frozen=True, kw_only=True)
class Reading:
    """How a data set is read and filtered; the flags mean what they mean for ``gclrec train``."""

    user_column: str | None = None
    """Column of user ids, if it cannot be guessed."""
    item_column: str | None = None
    """Column of item ids."""
    time_column: str | None = None
    """Column of timestamps."""
    weight_column: str | None = None
    """Column of ratings or other weights."""
    user_id_column: str | None = None
    """Column of ids in the table of user attributes, if it cannot be guessed."""
    item_id_column: str | None = None
    """Column of ids in the table of item attributes."""
    no_header: bool = False
    """CSV and TSV begin with the first row; the columns are called 1, 2 and so on."""
    quote: str = '"'
    """Character around fields of CSV and TSV; none if quotes have no meaning."""
    format: str = "auto"
    """File format, if it is not recognised by suffix or content."""
    test_file: Path | None = None
    """File of a published test part, beside a file of training pairs."""
    valid_file: Path | None = None
    """File of a published validation part."""
    user_attributes: Path | None = None
    """File of user attributes, in place of those of the data set."""
    item_attributes: Path | None = None
    """File of item attributes, in place of those of the data set."""
    min_rating: float | None = None
    """Keep interactions with at least this rating."""
    repeats: str = "first"
    """Which row of a repeated pair stays: first or last in time, max or sum of the weights."""
    k_core: int | None = None
    """Keep users and items with at least this many interactions, to a fixed point."""


@Parameter(name="*", negative=())
@dataclass(frozen=True, kw_only=True)
class Splitting(Reading):
    """How a data set is also split."""

    split: Annotated[
        str | None, Parameter(help=f"Also describe the parts of this split: {', '.join(SPLITS)}.")
    ] = None
    valid_share: float = 0.1
    """Share held out for validation."""
    test_share: float = 0.2
    """Share held out for the test."""
    cold_share: float = 0.2
    """Share of items (or users) made cold by the cold splits."""
    shots: int = 0
    """Training interactions that a cold item (or user) keeps."""
    train_fraction: float = 1.0
    """Share of the training interactions that is kept."""
    seed: int = 0
    """Seed of the split."""

    def divided(self, dataset: Dataset) -> Split | None:
        """Return the split that the flags describe, if they do, and name the flag of a bad value."""
        if self.split is None:
            return None
        try:
            return make_split(
                dataset,
                self.split,
                valid=self.valid_share,
                test=self.test_share,
                cold_share=self.cold_share,
                shots=self.shots,
                train_fraction=self.train_fraction,
                seed=self.seed,
            )
        except SettingError as error:
            known = SPLITS[self.split].declared.get(error.argument)
            name = error.argument if known is None else known.setting.name
            raise SettingError(name, error.message) from None
