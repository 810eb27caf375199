"""The map from attributes to vectors beside dense equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gclrec.data.tf_idf import TfIdf
from gclrec.encoders.content.attribute_map import AttributeMap, ridge

from .test_content import BOTH, ITEMS, SCHEMAS

DEGREES = torch.tensor([3, 0, 1, 2, 0, 5, 1, 1, 0, 2])


@pytest.mark.parametrize("l2", [0.2, 3.0])
def test_cold_nodes_get_the_solution_of_the_normal_equations(l2: float) -> None:
    vectors = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    filled = AttributeMap(BOTH.items, DEGREES)(vectors, l2)
    rows, warm = TfIdf.fit(BOTH.items)(BOTH.items).toarray().astype(np.float64), DEGREES.numpy() > 0
    gram = rows[warm].T @ rows[warm] + l2 * np.eye(rows.shape[1])
    weights = np.linalg.solve(gram, rows[warm].T @ vectors.numpy()[warm])
    np.testing.assert_allclose(filled.numpy()[~warm], (rows @ weights)[~warm], atol=1e-5)
    assert torch.equal(filled[warm], vectors[warm])
    assert not torch.equal(filled, vectors)


def test_further_nodes_get_the_vectors_of_cold_ones_with_their_attributes() -> None:
    vectors = torch.randn(10, 4, generator=torch.Generator().manual_seed(1))
    made = AttributeMap(BOTH.items, DEGREES)
    cold = (DEGREES == 0).nonzero().view(-1)
    told = SCHEMAS["item"].encode(ITEMS[cold.tolist()])
    torch.testing.assert_close(made.encode(told, vectors), made(vectors)[cold])
    with pytest.raises(ValueError, match="other fields"):
        made.encode(BOTH.users, vectors)


def test_without_cold_nodes_nothing_changes() -> None:
    vectors = torch.ones(10, 4)
    assert AttributeMap(BOTH.items, torch.ones(10))(vectors) is vectors


def test_nodes_of_which_nothing_is_known_are_zero() -> None:
    rows = TfIdf.fit(BOTH.items)(SCHEMAS["item"].encode(ITEMS.select("id")))
    assert rows.shape == (10, 5)
    assert rows.nnz == 0


def test_ridge_of_nothing_is_zero() -> None:
    rows = TfIdf.fit(BOTH.items)(BOTH.items)
    assert not ridge(rows, np.zeros((5, 3), dtype=np.float32), 1.0).any()
