"""The best epoch so far, and which callbacks are called."""

from __future__ import annotations

import pytest

from gclrec.training.callbacks import Callbacks, Selection, StopTraining


def test_the_first_of_equal_figures_stands() -> None:
    selection = Selection(patience=2)
    found = [selection.update(value, epoch) for epoch, value in enumerate((0.1, 0.3, 0.3), start=1)]
    assert found == [True, True, False]
    assert (selection.epoch, selection.value, selection.stale) == (2, 0.3, 1)
    assert not selection.exhausted
    assert not selection.update(0.2, 4)
    assert selection.exhausted
    assert selection.update(0.4, 5)
    assert not selection.exhausted


def test_without_patience_it_never_stops() -> None:
    selection = Selection()
    for epoch in range(50):
        selection.update(-epoch, epoch)
    assert (selection.epoch, selection.stale, selection.exhausted) == (0, 49, False)


def test_every_callback_is_called_before_training_stops() -> None:
    heard = []

    class Stopping:
        def on_epoch_end(self, record: str) -> None:
            heard.append(f"one {record}")
            raise StopTraining

    class Hearing:
        def on_epoch_end(self, record: str) -> None:
            heard.append(f"two {record}")

    events = Callbacks([Stopping(), object(), Hearing()])
    events.call("on_batch_end", 1)
    assert not events.wants("on_batch_end")
    assert events.wants("on_epoch_end")
    with pytest.raises(StopTraining):
        events.call("on_epoch_end", "a")
    assert heard == ["one a", "two a"]
