"""One vector a field: beside a slow loop, for all rows, for some rows, hidden, and on other devices."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import pytest
import torch

from gclrec.data.schema import AttributeTable, Schema
from gclrec.encoders import FieldEncoder, FieldTable

FRAME = pl.DataFrame(
    {
        "id": range(5),
        "kind": ["a", None, "b", "a", "b"],
        "tags": [["x", "y"], ["x"], None, ["x", "y", "z"], ["z"]],
        "length": [1.0, 2.0, None, 4.0, 5.0],
        "cover": [[1.0, 2.0, 3.0], None, [3.0, 2.0, 1.0], [0.0, 0.0, 1.0], [5.0, 5.0, 5.0]],
    }
)


@pytest.fixture
def table() -> AttributeTable:
    return Schema.fit(FRAME, min_count=1).encode(FRAME)


@pytest.fixture
def encoder(table: AttributeTable) -> FieldEncoder:
    encoder = FieldEncoder(table.fields, dim=3, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        for parameter in (encoder.bias, encoder.missing):
            parameter.normal_(generator=torch.Generator().manual_seed(1))
    return encoder


def slow(encoder: FieldEncoder, table: AttributeTable, hidden: torch.Tensor | None = None) -> torch.Tensor:
    out = torch.zeros(table.num_rows, len(table.columns), 3, dtype=torch.float64)
    for row in range(table.num_rows):
        for place, column in enumerate(table.columns):
            if column.missing[row] or (hidden is not None and hidden[row, place]):
                out[row, place] = encoder.missing[place]
            elif column.codes is not None:
                codes = column.codes[column.ptr[row] : column.ptr[row + 1]]
                for code in codes:
                    out[row, place] += encoder.weights[place][int(code)] / len(codes)
            else:
                for number, weight in zip(column.numbers[row], encoder.weights[place], strict=True):
                    out[row, place] += float(number) * weight
                out[row, place] += encoder.bias[place]
    return out


def test_is_its_formula(encoder: FieldEncoder, table: AttributeTable) -> None:
    assert encoder.num_fields == 4
    expected = slow(encoder, table)
    torch.testing.assert_close(encoder(table), expected)
    torch.testing.assert_close(encoder(FieldTable(table)), expected)


def test_some_rows_even_twice(encoder: FieldEncoder, table: AttributeTable) -> None:
    rows = torch.tensor([3, 1, 3, 0])
    expected = slow(encoder, table)
    torch.testing.assert_close(encoder(table, rows), expected[rows])
    assert encoder(table, rows[:0]).shape == (0, 4, 3)
    hidden = torch.rand(4, 4, generator=torch.Generator().manual_seed(2)) < 0.5
    found = encoder(table, rows, hidden)
    torch.testing.assert_close(found, torch.where(hidden[:, :, None], encoder.missing, expected[rows]))


def test_hidden_reads_as_missing(encoder: FieldEncoder, table: AttributeTable) -> None:
    hidden = torch.rand(5, 4, generator=torch.Generator().manual_seed(2)) < 0.5
    torch.testing.assert_close(encoder(table, hidden=hidden), slow(encoder, table, hidden))
    torch.testing.assert_close(encoder(table, hidden=torch.ones(5, 4, dtype=torch.bool))[2], encoder.missing)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("hide", [False, True])
def test_the_total_is_the_sum_over_fields(
    encoder: FieldEncoder, table: AttributeTable, hide: bool, batch: bool
) -> None:
    """With its gradients; of a whole table, and of some rows some of whose fields were hidden before."""
    hidden = torch.rand(5, 4, generator=torch.Generator().manual_seed(2)) < 0.5 if hide else None
    before = torch.rand(5, 4, generator=torch.Generator().manual_seed(4)) < 0.3
    known = (
        FieldTable(table).batch(torch.tensor([4, 0, 2, 2, 1])).hide(before) if batch else FieldTable(table)
    )
    upstream = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    parameters = tuple(encoder.parameters())
    found, expected = encoder.total(known, hidden), encoder(known, hidden=hidden).sum(1)
    torch.testing.assert_close(found, expected)
    for mine, theirs in zip(
        torch.autograd.grad((found * upstream).sum(), parameters),
        torch.autograd.grad((expected * upstream).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("rows", [None, torch.tensor([4, 1, 2, 4, 0])])
def test_gradients_are_those_of_the_loop(
    encoder: FieldEncoder, table: AttributeTable, rows: torch.Tensor | None
) -> None:
    expected = slow(encoder, table)
    expected = expected if rows is None else expected[rows]
    upstream = torch.randn(expected.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = [
        torch.autograd.grad((out * upstream).sum(), list(encoder.parameters()))
        for out in (encoder(table, rows), expected)
    ]
    for mine, theirs in zip(*found, strict=True):
        assert theirs.abs().sum() > 0
        torch.testing.assert_close(mine, theirs)


def test_second_derivatives_exist(encoder: FieldEncoder, table: AttributeTable) -> None:
    ready = FieldTable(table).double()
    parameters = tuple(encoder.parameters())

    for encode in (encoder, encoder.total):

        def run(*_: torch.Tensor, encode: Callable[..., torch.Tensor] = encode) -> torch.Tensor:
            return encode(ready).square()

        assert torch.autograd.gradcheck(run, parameters)
        assert torch.autograd.gradgradcheck(run, parameters)


def test_tables_are_no_state(encoder: FieldEncoder, table: AttributeTable) -> None:
    assert not FieldTable(table).state_dict()
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"weights", "bias", "missing"}
    started = FieldEncoder(table.fields, dim=400, generator=torch.Generator().manual_seed(0))
    again = FieldEncoder(table.fields, dim=400, generator=torch.Generator().manual_seed(0))
    assert torch.equal(started(table), again(table))
    assert abs(float(started.weights[0].detach().std()) - 0.1) < 0.02
    assert started.missing.eq(0).all()


def test_a_table_of_another_schema_is_refused(encoder: FieldEncoder) -> None:
    other = Schema.fit(FRAME.select("id", "kind"), min_count=1).encode(FRAME)
    with pytest.raises(ValueError, match="encode it with the same schema"):
        encoder(other)
