"""``gclrec COMMAND …``: the same commands as ``python -m gclrec.COMMAND …``."""

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
app.command(
    "gclrec.cli.train:app", name="train", help="Train an encoder; ends with test figures and a run folder."
)
app.command(
    "gclrec.cli.compare:app",
    name="compare",
    help="Compare augmentations or methods, with intervals and tests.",
)
app.command("gclrec.cli.tune:app", name="tune", help="Find good settings on validation; writes them as TOML.")
app.command(
    "gclrec.cli.evaluate:app",
    name="evaluate",
    help="Evaluate a run again: other cut-offs, metrics or groups.",
)
app.command("gclrec.cli.export:app", name="export", help="Build the nearest-neighbour index of a run.")
app.command("gclrec.cli.recommend:app", name="recommend", help="Top-k items for users of a run or new users.")
app.command("gclrec.cli.similar:app", name="similar", help="Items most similar to an item of a run.")
app.command(
    "gclrec.cli.add_items:app", name="add-items", help="Give vectors to new items without training again."
)
app.command(
    "gclrec.cli.temperature:app",
    name="temperature",
    help="How many negatives a run's temperature leaves in play.",
)
app.command("gclrec.cli.methods:app", name="methods", help="List the published models and baselines by name.")
app.command("gclrec.cli.data:app", name="data", help="List, describe and expand data sets.")

main = main_of(app)

if __name__ == "__main__":
    main()
