"""Attributes as sparse vectors, in which rare values weigh more than frequent ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from gclrec.common.errors import InputError
from gclrec.data.schema import AttributeTable, Column, Field

if TYPE_CHECKING:
    import scipy.sparse


@dataclass(frozen=True, eq=False)
class TfIdf:
    r"""Turns rows of attributes into vectors of unit length (TF-IDF, [1]).

    A value of a category, categories or words weighs :math:`\log(N / \mathrm{df})`, where :math:`\mathrm{df}`
    of ``N`` rows have it; the numbers of a vector stand as they are. Each known field has the same length.
    Single numbers are left out.

    Args:
        fields: of the tables that it takes.
        weights: for each field that is used, its weight of each value; ``None`` for a vector.

    [1] Salton and Buckley, Information Processing and Management 1988,
    https://doi.org/10.1016/0306-4573(88)90021-0
    """

    fields: tuple[Field, ...]
    weights: dict[int, npt.NDArray[np.float64] | None]

    @classmethod
    def fit(cls, table: AttributeTable, who: str = "TF-IDF") -> TfIdf:
        """Learn the weights from the ``N`` rows of a table.

        Args:
            table: the attributes.
            who: names what needs them, in the message.

        Raises:
            InputError: the fields are single numbers only.
        """
        used = {n: x for n, x in enumerate(table.columns) if x.field.kind != "number"}
        if not used:
            raise InputError(f"{who}: the item attributes are single numbers only, which it leaves out")
        return cls(table.fields, {number: _rarity(column) for number, column in used.items()})

    @property
    def width(self) -> int:
        """Length ``V`` of the vectors."""
        return sum(self.fields[number].width for number in self.weights)

    def __call__(self, table: AttributeTable) -> scipy.sparse.csr_array:
        """Return the vectors of a table, ``(N, V)`` float32; zeros where nothing is known.

        Raises:
            ValueError: the table has other fields.
        """
        import scipy.sparse

        if table.fields != self.fields:
            raise ValueError("the table has other fields than TF-IDF was fitted to: encode it alike")
        blocks = [_unit(_weighted(table.columns[n], weight)) for n, weight in self.weights.items()]
        return _unit(scipy.sparse.csr_array(scipy.sparse.hstack(blocks))).astype(np.float32)


def _rarity(column: Column) -> npt.NDArray[np.float64] | None:
    """Return the weight of each value of a field, ``(width,)``."""
    if column.codes is None:
        return None
    held = np.bincount(column.codes, minlength=column.field.width)
    weight: npt.NDArray[np.float64] = np.log(len(column.missing) / np.maximum(held, 1))
    return weight


def _weighted(column: Column, weight: npt.NDArray[np.float64] | None) -> Any:
    """Return the values of a field as numbers, ``(N, width)``."""
    import scipy.sparse

    if weight is None:
        assert column.numbers is not None
        return scipy.sparse.csr_array(column.numbers.astype(np.float64))
    assert column.codes is not None
    shape = len(column.missing), column.field.width
    return scipy.sparse.csr_array((weight[column.codes], column.codes, column.ptr), shape=shape)


def _unit(rows: Any) -> Any:
    """Return rows of unit length; zero where they are zero."""
    import scipy.sparse

    length = np.sqrt(rows.multiply(rows).sum(axis=1))
    return scipy.sparse.diags_array(1.0 / np.where(length > 0, length, 1.0)) @ rows
