"""All commands, each loaded when it is called."""

from __future__ import annotations

from cyclopts import App

from gclrec import __version__
from gclrec.cli.console import main_of

app = App(
    name="gclrec",
    help="Graph contrastive recommenders for recall: from interactions to an index that serves top-k.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
for name, what in {
    "train": "Train an encoder; ends with test figures and a run folder.",
    "compare": "Compare augmentations or methods, with intervals and tests.",
    "tune": "Find good settings on validation; writes them as TOML.",
    "evaluate": "Evaluate a run again: other cut-offs, metrics or groups.",
    "export": "Build the nearest-neighbour index of a run.",
    "recommend": "Top-k items for users of a run or new users.",
    "similar": "Items most similar to an item of a run.",
    "serve": "Answer requests for recommendations over HTTP, with a page.",
    "mcp": "Answer an assistant with tools, by the Model Context Protocol.",
    "add-items": "Give vectors to new items without training again.",
    "temperature": "How many negatives a run's temperature leaves in play.",
    "methods": "List the published models and baselines by name.",
    "data": "List, describe and expand data sets.",
    "doctor": "What this machine has, what is missing, and what would be faster.",
    "completion": "Print what makes a shell complete commands, flags and their values.",
}.items():
    app.command(f"gclrec.cli.{name.replace('-', '_')}:app", name=name, help=what)

main = main_of(app)
