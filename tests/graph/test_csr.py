"""The helper of an arrangement in a process that was forked."""

from __future__ import annotations

import os

import pytest

from gclrec.graph import csr as arrangement


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_has_a_helper_of_its_own() -> None:
    """The parent's has its thread in the parent alone: a child that waited for it would hang."""
    assert arrangement._HELPER.submit(int).result(5) == 0  # so that the thread is there
    with arrangement._UNPACKING:
        child = os.fork()
        if not child:
            free = arrangement._UNPACKING.acquire(blocking=False)
            try:
                os._exit(0 if free and arrangement._HELPER.submit(int).result(5) == 0 else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
