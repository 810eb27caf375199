"""Sorted edges in a process that was forked."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from gclrec.graph.csr import SortedEdges


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_sorts_and_selects_with_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child has none of its parent's threads: it would hang if it waited for one of them."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)  # so that two directions are done at a time

    def num_edges() -> int:
        user, item = np.array([2, 0, 1, 0]), np.array([1, 1, 0, 0])
        edges = SortedEdges.of_unsorted(user, item, 3, 2)
        return edges.select(torch.tensor([True, True, False, True])).num_edges

    assert num_edges() == 3
    child = os.fork()
    if not child:
        try:
            os._exit(0 if num_edges() == 3 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
