"""Counts of what a training step costs on each of P processes, and constants that turn them into seconds.

The counts are read off the code; docs/concepts/scale.md has them as formulas. Layouts with blocks of users,
or with a shared loss, are on paper only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scale_measure import Case, Taken
from scipy.optimize import nnls

_FLOAT = 4  # bytes of a number of a vector
_LINE = 16.0  # numbers that the processor fetches at once from beyond a cache
_INT64 = 2**31  # twice the pairs, or nodes, from which on the graph holds numbers of 8 bytes


class Layout(NamedTuple):
    """How processes share a training; ``columns * blocks`` of them.

    Args:
        columns: groups of embedding dimensions.
        blocks: blocks of users, with their edges, into which the processes of a group are divided; above 1
            on paper only.
        shares_loss: whether each process computes the loss of its part of the batch, not all of it; on paper
            only.
    """

    columns: int = 1
    blocks: int = 1
    shares_loss: bool = False

    @property
    def processes(self) -> int:
        """``P``."""
        return self.columns * self.blocks


class Network(NamedTuple):
    """What the processes talk over.

    Args:
        bandwidth: bytes a second that a process receives.
        latency: seconds until a message arrives.
    """

    bandwidth: float = 1.25e9
    latency: float = 5e-5


class Share(NamedTuple):
    """What one process holds: pairs, users, items, width of a vector, share of the loss."""

    pairs: float
    users: float
    items: float
    width: float
    loss: float

    @classmethod
    def of(cls, case: Case, layout: Layout) -> Share:
        """Return that of a layout whose blocks are alike."""
        loss = 1.0
        if layout.shares_loss:  # whole parts
            loss = math.ceil(case.parts / layout.processes) / case.parts
        blocks = layout.blocks
        return cls(case.pairs / blocks, case.users / blocks, case.items, case.dim / layout.columns, loss)


def one_sided(case: Case) -> int:
    """Return the products with R, and as many with its transpose, of a step: forward and back."""
    return case.num_layers + 1 if case.method == "gcl_sparse" else 2 * case.num_layers


def distinct(count: float, draws: float) -> float:
    """Return how many different ones of ``count`` items so many draws find on average."""
    return -count * math.expm1(draws * math.log1p(-1.0 / count))


def rows(case: Case) -> float:
    """Return the rows of final vectors that the loss of a batch looks at: what processes exchange."""
    ranked = 3.0 * case.taken  # a user, a positive and a negative for each pair
    if case.method != "gcl_sparse":
        return ranked
    return ranked + case.taken + case.parts * distinct(case.items, case.taken / case.parts)


def work(case: Case, layout: Layout, caches: Sequence[float]) -> dict[str, float]:
    """Return how much of each kind of work a process does in a step, by the name of its constant.

    Args:
        case: the training.
        layout: how it is shared.
        caches: bytes of the processor's caches, the smaller one first.
    """
    pairs, users, items, width, loss = Share.of(case, layout)
    products = one_sided(case)
    # Each product writes its side, and one weighted sum follows it; gradients are filled and added.
    passes = 2 * products + (3 if case.method == "gcl_sparse" else 5)
    tables = [side * width * _FLOAT for side in (items, users)]
    far = [sum(max(0.0, 1.0 - cache / table) for table in tables) for cache in caches]
    contrast = case.method == "gcl_sparse"
    logits = loss * case.taken * distinct(case.items, case.taken / case.parts) if contrast else 0.0
    degree = case.degree or case.pairs / case.users + 1.0
    added = products * items * width * (layout.blocks > 1)  # sums of what other blocks send
    return {
        "edge": 2.0 * products * pairs,
        "edge_value": 2.0 * products * pairs * width,
        "near_value": products * pairs * max(width, _LINE) * far[0],
        "far_value": products * pairs * max(width, _LINE) * far[1],
        "node_value": passes * (users + items) * width + added,
        "adam_value": trained(case) * width / layout.blocks,
        "pair": case.taken,
        "row_value": loss * rows(case) * case.dim,
        "piled_row": piled(case),
        "piled_value": piled(case) * width,
        "logit": logits,
        "logit_value": logits * case.dim,
        "seen": loss * case.taken * degree * contrast,
        "part": float(case.parts),
        "step": 1.0,
    }


def piled(case: Case) -> float:
    """Return the rows that were copied while the gradients of the parts of a batch piled up.

    In version 0.2.0 each part appended its rows to those of the parts before, all of which were copied. A
    batch of one part has no sparse gradients. Since then parts are added to a dense gradient, which costs no
    more than its rows.
    """
    return (case.parts + 1) / 2 * sparse_rows(case) if case.piles else 0.0


def sparse_rows(case: Case) -> float:
    """Return the rows of the gradients of all parts: those that the loss looked at, the same users once."""
    if case.parts == 1:
        return 0.0
    return rows(case) - (case.taken if case.method == "gcl_sparse" else 0.0)


def trained(case: Case) -> int:
    """Return how many nodes have a vector that is trained."""
    return case.items + (0 if case.method == "gcl_sparse" else case.users)


def memory(case: Case, layout: Layout, tables: float) -> dict[str, float]:
    """Return the bytes of a process by part; the peak of a step is their sum.

    Args:
        case: the training.
        layout: how it is shared.
        tables: tables of all users and items that a step holds at once, beside parameters and Adam's state.
    """
    pairs, users, items, width, loss = Share.of(case, layout)
    own = trained(case) * width * _FLOAT / layout.blocks
    shared = items if layout.blocks > 1 else 0.0  # whole tables of items: what is gathered, what is sent
    largest = case.taken / case.parts
    found = distinct(case.items, largest)
    contrast = case.method == "gcl_sparse"
    logits = largest * found * _FLOAT if contrast else 0.0
    degree = case.degree or case.pairs / case.users + 1.0
    return {
        "pairs": 8.0 * pairs,
        "graph": graph_bytes(pairs, users, items),
        "order": 8.0 * pairs,
        "vectors": own,
        "adam": 2.0 * own,
        "step": (tables * (users + items / layout.blocks) + 2.0 * shared) * width * _FLOAT,
        "piled": 2.0 * sparse_rows(case) * (width * _FLOAT + 8) if case.piles else 0.0,
        "batch": logits + 28.0 * largest * degree * contrast + 16.0 * largest * case.dim * _FLOAT * loss,
    }


def graph_bytes(pairs: float, users: float, items: float) -> float:
    """Return what the graph holds once a step is done.

    Both sortings with the row of each edge, two weights, and what draws negatives: the keys of the edges and
    the numbers of what is missing before each, always 8 bytes.
    """
    number = 8.0 if max(2 * pairs, users + items) >= _INT64 else 4.0
    return pairs * (4 * number + 2 * _FLOAT + 16) + (users + items + 2) * number + 8 * users


def exchanged(case: Case, layout: Layout) -> tuple[float, float]:
    """Return the bytes that a process receives in a step, and how many messages it waits for.

    Columns: the rows of the batch, and a scalar (L2). Blocks: before each product with R the items of the
    other blocks, after each with its transpose their sums. A shared loss: the rows of a process's own parts,
    and as many gradients for the others.
    """
    count, width = layout.processes, case.dim / layout.columns
    if count == 1:
        return 0.0, 0.0
    whole = rows(case) * case.dim * _FLOAT
    gathers = case.parts * (2 if case.method == "gcl_sparse" else 1)
    found = whole * (1.0 - 1.0 / count) + _FLOAT * (count - 1)
    calls = gathers + 1.0
    if layout.shares_loss:
        loss = Share.of(case, layout).loss
        found = 2.0 * loss * whole * (1.0 - 1.0 / count) + _FLOAT * (count - 1)
        calls = 2.0 * math.ceil(gathers * loss) + 1.0
    messages = calls * (count - 1)
    if layout.blocks > 1:
        moved = 2 * one_sided(case)
        found += moved * (1.0 - 1.0 / layout.blocks) * case.items * width * _FLOAT
        messages += moved * (layout.blocks - 1)
    return found, messages


@dataclass(frozen=True)
class Machine:
    """The constants of a machine.

    Args:
        caches: bytes of the caches that ``work`` distinguishes.
        rates: seconds of processor time for one of each kind of work.
        tables: tables of users and items that a step holds at once, by method.
        fixed: bytes that a process takes in its first step, whatever the size.
        idle: bytes of a process before it has data.
    """

    caches: tuple[float, ...]
    rates: Mapping[str, float]
    tables: Mapping[str, float]
    fixed: float
    idle: float

    @classmethod
    def fitted(cls, measured: Mapping[Case, Taken], caches: Sequence[float]) -> Machine:
        """Return the constants that fit best, none below zero, by the squares of relative errors."""
        amounts = [work(case, Layout(case.processes), caches) for case in measured]
        names = list(amounts[0])
        taken = np.array([each.seconds for each in measured.values()])
        matrix = np.array([[amount[name] for name in names] for amount in amounts]) / taken[:, None]
        scale = matrix.max(axis=0)
        scale[scale == 0.0] = 1.0
        found, _ = nnls(matrix / scale, np.ones(len(taken)))
        rates = dict(zip(names, (found / scale).tolist(), strict=True))
        idle = float(np.median([each.idle - 8 * case.pairs for case, each in measured.items()]))
        return cls(tuple(caches), rates, *_memory_of(measured), idle)

    def compute(self, case: Case, layout: Layout) -> dict[str, float]:
        """Return the seconds of a step of a process by kind of work, without what is exchanged."""
        return {name: self.rates[name] * amount for name, amount in work(case, layout, self.caches).items()}

    def seconds(self, case: Case, layout: Layout, network: Network) -> float:
        """Return the seconds of a step."""
        received, messages = exchanged(case, layout)
        waiting = received / network.bandwidth + messages * network.latency
        return sum(self.compute(case, layout).values()) + waiting

    def peak(self, case: Case, layout: Layout) -> float:
        """Return the largest resident bytes of a process."""
        return self.idle + self.fixed + sum(memory(case, layout, self.tables[case.method]).values())


def _memory_of(measured: Mapping[Case, Taken]) -> tuple[dict[str, float], float]:
    """Return the tables of each method and the fixed bytes that explain the peaks best."""
    methods = sorted({case.method for case in measured})
    matrix, left = [], []
    for case, taken in measured.items():
        layout = Layout(case.processes)
        grown = taken.peak - taken.idle
        without = sum(memory(case, layout, 0.0).values()) - 8.0 * case.pairs
        table = (case.users + case.items) * case.dim / layout.columns * _FLOAT / grown
        own = [table * (case.method == method) for method in methods]
        matrix.append([*own, 1.0 / grown])
        left.append(1.0 - without / grown)
    scale = np.array(matrix).max(axis=0)
    found, _ = nnls(np.array(matrix) / scale, np.array(left))
    *tables, fixed = (found / scale).tolist()
    return dict(zip(methods, tables, strict=True)), fixed
