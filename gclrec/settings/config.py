"""The settings of a run: one dataclass, collected from what the components declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from cyclopts import Parameter

from gclrec.common.declaration import SEED, Around, Setting, Span
from gclrec.common.errors import InputError
from gclrec.contrast import SSL
from gclrec.data.interactions import REPEATS
from gclrec.data.splits import COLD_SIDES, TRAIN_FRACTION
from gclrec.evaluation.metrics import METRICS
from gclrec.settings.registries import (
    CONTRAST,
    DATA,
    EVALUATION,
    REGISTRIES,
    TRAINING,
    RunSetting,
    fits,
    known_settings,
    spoken,
)
from gclrec.views.views import AUG_P, VIEWS, parse_augmentations

PRECISIONS = ("single", "half", "half_propagation")
ROUNDS = 8
"""Rounds that a budget of steps is cut into; each ends like an epoch, with a validation and a checkpoint."""

VALID_USERS = 10000
"""Users that a validation ranks, at most, if no number is given."""

TEST_SCORES = 10**10
"""Scores of users and items that the test computes, about, at most, if no number of users is given."""

ALIASES: Mapping[str, str] = {"start_from": "--from"}
"""Further flags of settings, shorter than their names."""

GOALS = ("all", "warm", "cold_items", "cold_users", "balanced")
"""Whom the validation figure may be of."""

RETIRED: Mapping[str, Any] = {
    "mixed_share": None,
    "head_dim": None,
    "cluster_every": 1,
    "nearest_form": "in",
    "ssl_batch": "catalogue",
}
"""Former settings with their default, the only value that a run folder may hold of them."""


@dataclass(frozen=True, kw_only=True)
class CoreSettings:
    """The settings of a run that belong to no component."""

    if TYPE_CHECKING:
        known: ClassVar[Mapping[str, RunSetting]]
        """All settings of a run by name, those of the components included; set by :func:`derive`."""

    dataset: Annotated[str, DATA] = "synthetic"
    """Catalogue name (see `gclrec data list`), or a file or folder of interactions."""
    user_column: Annotated[str | None, DATA] = None
    """Column with user ids, where it cannot be guessed."""
    item_column: Annotated[str | None, DATA] = None
    """Column with item ids."""
    time_column: Annotated[str | None, DATA] = None
    """Column with timestamps."""
    weight_column: Annotated[str | None, DATA] = None
    """Column with ratings or other weights."""
    user_id_column: Annotated[str | None, DATA] = None
    """Column with ids in the table of user attributes, where it cannot be guessed."""
    item_id_column: Annotated[str | None, DATA] = None
    """Column with ids in the table of item attributes, where it cannot be guessed."""
    no_header: Annotated[bool, DATA] = False
    """CSV and TSV begin with the first row; the columns are called 1, 2 and so on."""
    quote: Annotated[str, DATA] = '"'
    """Character around fields of CSV and TSV; none if quotes have no meaning."""
    format: Annotated[str, DATA] = "auto"
    """File format, where it is not recognised by suffix or content."""
    test_file: Annotated[str | None, DATA] = None
    """File of a published test part, beside a file of training pairs."""
    valid_file: Annotated[str | None, DATA] = None
    """File of a published validation part."""
    user_attributes: Annotated[str | None, DATA] = None
    """File of user attributes. Default: those of the data set, where it has any."""
    item_attributes: Annotated[str | None, DATA] = None
    """File of item attributes. Default: those of the data set, where it has any."""
    attribute_min_count: Annotated[int, DATA, Setting(low=1)] = 2
    """Users (or items) that must have an attribute value for it to be known; rarer ones read as missing."""
    min_rating: Annotated[float | None, DATA] = None
    """Keep interactions with at least this rating. Default: those with a rating above 0."""
    repeats: Annotated[str, DATA, Setting(choices=REPEATS)] = "first"
    """Which row of a repeated pair stays, after --min-rating: first or last by time, max or sum by weight."""
    k_core: Annotated[int | None, DATA, Setting(low=1)] = None
    """Keep users and items with at least this many interactions, to a fixed point."""
    split_seed: Annotated[int | None, DATA, Setting(low=0, high=2**63 - 1)] = None
    """Seed of the split. Default: --seed."""
    aug: Annotated[str, CONTRAST, Setting(choices=VIEWS, composed=True)] = "edge_drop"
    """How views are made: names from {names}. NAME:P sets a strength; A+B applies both in sequence; A,B
    makes a different one for each view; none is training without contrast."""
    aug_p: Annotated[float, CONTRAST, AUG_P] = 0.1
    views_every: Annotated[str, CONTRAST, Setting(choices=("batch", "epoch"))] = "batch"
    """Draw fresh views for every batch or epoch."""
    ssl_weight: Annotated[float, CONTRAST, Setting(low=0, search=Around(10.0))] = 0.02
    """Weight of the contrastive loss, beside 1 for the ranking loss (both are means)."""
    epochs: Annotated[int | None, TRAINING, Setting(low=1)] = None
    """Passes over the training pairs, at most. Default: 30, or 1600 steps where that is less."""
    steps: Annotated[int | None, TRAINING, Setting(low=1)] = None
    """Optimiser steps, at most, in place of epochs: batches grow with the data, their number does not."""
    batch_size: Annotated[int | None, TRAINING, Setting(low=1)] = None
    """Training pairs in a batch. Default: 2048; with steps, more where they make fewer than 4 passes."""
    micro_batch: Annotated[int, TRAINING, Setting(low=1)] = 4096
    """Pairs that are compared with each other, at most: larger batches are cut into equal parts, which share
    one propagation."""
    learning_rate: Annotated[
        float, TRAINING, Setting(low=0, closed=False, search=Span(0.0005, 0.05, log=True))
    ] = 0.005
    """Step size of Adam."""
    start_from: Annotated[str | None, TRAINING] = None
    """Run folder whose vectors training starts from, and whose settings hold unless given, with a tenth of
    its epochs or steps. New users and items start from what their neighbours predict."""
    sample_edges: Annotated[float, TRAINING, Setting(low=0.001, high=1)] = 1.0
    """Share of the interactions that a training step propagates over, drawn anew and weighted so that the
    operator is right on average. Evaluation uses all."""
    warmup: Annotated[float, TRAINING, Setting(low=0)] = 0.0
    """Epochs (with steps: eighths of the run) in which the learning rate first rises from near 0."""
    l2_weight: Annotated[float, TRAINING, Setting(low=0, search=Span(1e-07, 0.01, log=True))] = 0.0001
    """Weight of L2 on the batch's layer-0 vectors."""
    patience: Annotated[int, TRAINING, Setting(low=0)] = 0
    """Stop after this many validations without a better one; 0 never stops early."""
    refit: Annotated[bool, TRAINING] = False
    """After choosing the length, train anew on training and validation pairs together."""
    pilot: Annotated[float, TRAINING, Setting(low=0, high=0.5)] = 0.0
    """Share of the steps that short trainings take first, which choose a recipe on validation; 0 trains with
    the settings as they are."""
    held: Annotated[tuple[str, ...], TRAINING] = ()
    """Settings that the pilot leaves as they are; those that are given are added."""
    seed: Annotated[int, TRAINING, SEED] = 0
    precision: Annotated[str | None, TRAINING, Setting(choices=PRECISIONS)] = None
    """Of training: single, half, which is bfloat16 in propagation and the matrix products of losses and
    towers, or half_propagation. Default: single; beyond a million training pairs half_propagation."""
    device: Annotated[str, TRAINING, Setting(choices=("auto", "cpu", "cuda"))] = "auto"
    """auto, cpu or cuda."""
    tensorboard: Annotated[bool, TRAINING] = False
    """Also write TensorBoard scalars into the run folder."""
    eval_every: Annotated[int | None, EVALUATION, Setting(low=1)] = None
    """Epochs (with steps: eighths of the run) between validations. Default: 1; with steps, beyond a million
    training pairs, 2."""
    valid_users: Annotated[int | None, EVALUATION, Setting(low=0)] = None
    """Users whose validation pairs are ranked: of more, so many are drawn, the same in all runs on a split.
    Default: 10000; 0 ranks all."""
    test_users: Annotated[int | None, EVALUATION, Setting(low=0)] = None
    """Users whose test pairs are ranked: of more, so many are drawn. Default: as many as take 10 billion
    scores with all items, which on most data is all users; 0 ranks all."""
    select: Annotated[str, EVALUATION] = "recall@20"
    """Validation figure that chooses the best epoch, METRIC@K or GROUP/METRIC@K as cold_items/recall@20."""
    goal: Annotated[str | None, EVALUATION, Setting(choices=GOALS)] = None
    """Whom the figure of --select is of, where it names no group: {names}. Warm and balanced, the mean of
    warm and cold, are of users where the split is cold_users, otherwise of items. Default: balanced where the
    split is cold_items or cold_users, otherwise all."""
    ks: Annotated[tuple[int, ...], EVALUATION] = (10, 20, 50)
    """Cut-offs of the ranked lists."""
    metrics: Annotated[tuple[str, ...], EVALUATION, Setting(choices=METRICS)] = tuple(METRICS)
    """From {names}."""
    near_cold: Annotated[int, EVALUATION, Setting(low=1)] = 5
    """Users and items with 1 to this many training interactions are called near-cold."""
    train_fraction: Annotated[float, DATA, TRAIN_FRACTION] = 1.0

    @property
    def contrasts(self) -> bool:
        """Whether a contrast is part of the training."""
        kind = SSL[self.chosen("ssl")]
        chains = parse_augmentations(self.aug, self.aug_p)
        differ = any(step.name != "none" for chain in chains for step in chain)
        return kind.make is not None and self.ssl_weight > 0 and (differ or not kind.differs)

    def ranked_users(self, part: str, num_items: int) -> int | None:
        """Return how many users are ranked in ``valid`` or ``test``, at most; ``None`` for all.

        A group of users or items may be rare, so all are ranked where one chooses the best epoch and no
        number is given.

        Args:
            part: ``valid`` or ``test``.
            num_items: the number of items that each of them is ranked with.
        """
        given = self.test_users if part == "test" else self.valid_users
        if given is not None:
            return given or None
        if not self.selected.startswith("all/"):
            return None
        return VALID_USERS if part == "valid" else max(VALID_USERS, TEST_SCORES // max(num_items, 1))

    @property
    def rounds(self) -> int:
        """Epochs, or the rounds that a budget of steps is cut into: a line of ``metrics.jsonl`` each."""
        if self.steps is not None:
            return min(ROUNDS, self.steps)
        assert self.epochs is not None, "settings without a budget; see gclrec.settings.budget"
        return self.epochs

    @property
    def selected(self) -> str:
        """The figure that chooses the best epoch, with its group."""
        if "/" in self.select:
            return self.select
        goal, side = self.goal or "all", COLD_SIDES.get(self.chosen("split"), "items")
        return f"{f'{goal}_{side}' if goal in ('warm', 'balanced') else goal}/{self.select}"

    @property
    def chosen_by(self) -> str:
        """The figure that chooses the best epoch, as it is told."""
        return self.selected.removeprefix("all/")

    def chosen(self, choice: str) -> str:
        """Return the name of the component that is chosen from one of :data:`REGISTRIES`."""
        return str(getattr(self, choice))

    def parts(self, choice: str) -> tuple[str, ...]:
        """Return the components that are chosen from one of :data:`REGISTRIES`; of a sum several."""
        entry = REGISTRIES[choice].entries.get(self.chosen(choice))
        return getattr(entry, "parts", ()) or (self.chosen(choice),)

    def arguments(self, choice: str) -> dict[str, Any]:
        """Return the keyword arguments of the component that is chosen from one of :data:`REGISTRIES`."""
        found = {}
        for argument, declared in REGISTRIES[choice].declared(self.chosen(choice)).items():
            value = getattr(self, declared.setting.name)
            found[argument] = declared.default if value is None else value
        return {argument: value for argument, value in found.items() if value is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values; what is ``None`` is left out, as in a TOML file."""
        values = dataclasses.asdict(self)
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items() if v is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str) -> TrainConfig:
        """Return settings from plain values, such as a run's ``config.toml``.

        Raises:
            InputError: a name is unknown or a value has the wrong type; ``source`` is named.
        """
        clean: dict[str, Any] = {}
        for name, value in without_retired(values, source=source).items():
            if name not in cls.known:
                close = get_close_matches(name, cls.known, n=1)
                guess = f"; did you mean {close[0]!r}?" if close else ""
                raise InputError(f"{source}: unknown setting {name!r}{guess}")
            kind = cls.known[name].type
            clean[name] = tuple(value) if isinstance(value, list) else value
            if not fits(clean[name], kind):
                found = f"a setting has the wrong type ({name}: expected {spoken(kind)}, found {value!r})"
                raise InputError(f"{source}: {found}")
        return TrainConfig(**clean)


def without_retired(values: Mapping[str, Any], *, source: str) -> dict[str, Any]:
    """Return settings without those of :data:`RETIRED`, which older files hold at their former defaults.

    Raises:
        InputError: one has another value; ``source`` is named.
    """
    for name, value in values.items():
        if name in RETIRED and value != RETIRED[name]:
            raise InputError(f"{source}: {name} is no longer a setting, got {value!r}")
    return {name: value for name, value in values.items() if name not in RETIRED}


def derive(*, offer: bool = False) -> type[TrainConfig]:
    """Return the class of all settings: the core ones and those of every component of :data:`REGISTRIES`.

    Args:
        offer: whether the fields name their choices to the command line, for completion in a shell. Not for
            parsing: :func:`gclrec.settings.validation.validate` has the better messages.
    """
    known = known_settings(CoreSettings)
    fields = [
        (name, _annotated(each, offer), dataclasses.field(default=each.default))
        for name, each in known.items()
    ]
    made = dataclasses.make_dataclass(
        "TrainConfig",
        fields,
        bases=(CoreSettings,),
        namespace={"__doc__": "All settings of a run.", "__module__": __name__, "known": known},
        frozen=True,
        kw_only=True,
    )
    return Parameter(name="*", negative=())(made)


def _annotated(known: RunSetting, offer: bool) -> Any:
    """Return the type of a field, with what the command line says about it."""
    several = True if isinstance(known.default, tuple) else None
    alias = ALIASES.get(known.setting.name)
    choices = tuple(known.setting.choices) or None if offer and not several else None
    given = Parameter(
        group=known.group, help=known.help, consume_multiple=several, alias=alias, choices=choices
    )
    return Annotated[known.type, given]


if TYPE_CHECKING:

    @dataclass(frozen=True, kw_only=True)
    class TrainConfig(CoreSettings):
        """All settings of a run."""

        split: str | None

        def __init__(self, **settings: Any) -> None: ...

        def __getattr__(self, name: str) -> Any: ...

else:
    TrainConfig = derive()
