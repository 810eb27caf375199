"""Draw degrees and singular values of a data set beside those of its expansions: docs/images/expansion.png.

python scripts/draw_expansion.py [--dataset gowalla] [--factors 5 20] [--out docs/images/expansion.png]
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import scipy.sparse
from cyclopts import App, Parameter
from scipy.sparse.linalg import svds

from gclrec.data.catalog.loader import load
from gclrec.data.expansion import Expansion

mpl.use("agg")
from matplotlib import pyplot as plt

app = App(
    name="draw_expansion", help=__doc__, version_flags=[], default_parameter=Parameter(consume_multiple=True)
)
Matrix = scipy.sparse.csr_array


def matrix_of(expansion: Expansion) -> Matrix:
    """Return the users by items matrix of an expansion, without empty rows and columns."""
    blocks = [(user, item) for user, item, _ in expansion.blocks()]
    user, item = (np.concatenate(part) for part in zip(*blocks, strict=True))
    shape = (expansion.num_users, expansion.num_items)
    whole = scipy.sparse.csr_array((np.ones(len(user), dtype=np.float32), (user, item)), shape=shape)
    kept = [np.flatnonzero(whole.sum(axis=axis)) for axis in (1, 0)]
    return whole[kept[0]][:, kept[1]]


def share_above(degree: npt.NDArray[np.integer]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return degrees over their mean, ascending, and the share of nodes with at least that degree."""
    ordered = np.sort(degree)
    return ordered / ordered.mean(), 1 - np.arange(len(ordered)) / len(ordered)


def spectrum(matrix: Matrix, count: int) -> npt.NDArray[np.float64]:
    """Return the largest singular values over the largest, descending."""
    values = np.sort(svds(matrix, k=count, return_singular_vectors=False, v0=np.ones(min(matrix.shape))))[
        ::-1
    ]
    return values / values[0]


@app.default
def draw(
    *,
    dataset: str = "gowalla",
    factors: tuple[int, ...] = (5, 20),
    values: int = 100,
    out: Path = Path("docs/images/expansion.png"),
) -> None:
    """Draw the three charts.

    Args:
        dataset: name in the catalogue, or a file.
        factors: how many times as many interactions the expansions have.
        values: singular values of each.
        out: file to write.
    """
    pairs = load(dataset).interactions
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for factor in (1, *factors):
        matrix = matrix_of(Expansion.of(pairs, factor * len(pairs)))
        name = dataset if factor == 1 else f"{factor} times"
        for axis, side in ((axes[0], 1), (axes[1], 0)):
            axis.loglog(*share_above(matrix.sum(axis=side)), label=name, lw=1.2)
        axes[2].loglog(np.arange(1, values + 1), spectrum(matrix, values), label=name, lw=1.2)
        print(f"{name}: {matrix.nnz:,} interactions, {matrix.shape[0]:,} users, {matrix.shape[1]:,} items")
    for axis, x, y in zip(
        axes,
        ("interactions of a user, mean 1", "interactions of an item, mean 1", "singular value, by rank"),
        ("share with at least as many", "share with at least as many", "over the largest"),
        strict=True,
    ):
        axis.set_xlabel(x)
        axis.set_ylabel(y)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(out, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    app()
