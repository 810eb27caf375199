"""The registries that settings choose from, and every setting of a run with the components that have it."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Union, get_args, get_origin, get_type_hints

from cyclopts import Group

from gclrec.baselines import BASELINES
from gclrec.common.declaration import Declared, Setting
from gclrec.common.errors import SettingError
from gclrec.common.schedules import SCHEDULES
from gclrec.contrast import SSL
from gclrec.data.splits import SPLITS
from gclrec.encoders import ENCODERS
from gclrec.encoders.init import STARTS
from gclrec.evaluation.scoring import SCORINGS
from gclrec.losses.ranking_losses import LOSSES
from gclrec.negatives.registry import NEGATIVES

DATA = Group("Data", sort_key=1)
MODEL = Group("Model", sort_key=2)
LOSS = Group("Loss", sort_key=3)
CONTRAST = Group("Contrast", sort_key=4)
TRAINING = Group("Training", sort_key=5)
EVALUATION = Group("Evaluation", sort_key=6)


@dataclass(frozen=True)
class Registry:
    """A registry of components, one of which is chosen by a setting.

    Args:
        name: of that setting.
        group: where it and the settings of the components stand in ``--help``.
        entries: the components by name, with ``declared`` and ``about``.
        default: the component that is chosen if none is named.
        help: of that setting, see :class:`~gclrec.common.declaration.Setting`.
        lenient: whether settings of its components are accepted, and change nothing, beside others.
        composed: whether sums of components may be chosen too, which ``entries`` makes of their texts.
    """

    name: str
    group: Group
    entries: Mapping[str, Any]
    default: str | None
    help: str
    lenient: bool = False
    composed: bool = False

    @property
    def setting(self) -> Setting:
        """The setting that chooses."""
        return Setting(self.name, self.help, choices=self.entries, composed=self.composed)

    def declared(self, component: str) -> Mapping[str, Declared]:
        """Return the settings of one of the components by keyword argument."""
        found: Mapping[str, Declared] = self.entries[component].declared
        return found


REGISTRIES: Mapping[str, Registry] = {
    registry.name: registry
    for registry in (
        Registry("split", DATA, SPLITS, None, "What is tested on: {choices}. Default: the data set's own."),
        Registry(
            "baseline", MODEL, BASELINES, None, "Fit one of {names} instead of training an encoder.", True
        ),
        Registry("encoder", MODEL, ENCODERS, "lightgcn", "What makes the embeddings: {choices}."),
        Registry("init", MODEL, STARTS, "normal", "Start of the free vectors: {choices}."),
        Registry(
            "score",
            MODEL,
            SCORINGS,
            "dot",
            "What items are ranked by, in evaluation, index and recommendations: {choices}.",
        ),
        Registry("loss", LOSS, LOSSES, "bpr", "What the ranking loss asks for: {choices}.", True),
        Registry("negatives", LOSS, NEGATIVES, "uniform", "Where negatives come from: {choices}."),
        Registry(
            "ssl",
            CONTRAST,
            SSL,
            "infonce",
            "What is contrasted: {choices}. A+B:W adds up A and W times B.",
            composed=True,
        ),
        Registry("schedule", TRAINING, SCHEDULES, "constant", "Course of the learning rate: {choices}."),
    )
}
"""The registries by the setting that chooses from them."""


@dataclass(frozen=True)
class RunSetting:
    """A setting of a run.

    Args:
        setting: what is declared about it.
        type: what a user gives, ``None`` included where that is the default.
        default: of a run; ``None`` where each component has its own.
        group: where it stands in ``--help``.
        users: names of the components that have it, by the setting that chooses one of them.
    """

    setting: Setting
    type: Any
    default: Any
    group: Group
    users: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def help(self) -> str:
        """The sentence for ``--help``, with the names that it may have."""
        choices = self.setting.choices
        entries: Mapping[str, Any] = choices if isinstance(choices, Mapping) else dict.fromkeys(choices)
        told = "; ".join(
            f"{name} ({entry.about})" if hasattr(entry, "about") else name for name, entry in entries.items()
        )
        return self.setting.help.replace("{choices}", told).replace("{names}", ", ".join(choices))

    def check(self, value: object) -> None:
        """Raise a :class:`~gclrec.common.errors.SettingError` for a value that the setting cannot have."""
        if not fits(value, self.type):
            raise SettingError(self.setting.name, f"expected {spoken(self.type)}, got {value!r}")
        for each in value if isinstance(value, tuple) else (value,):
            if each is not None:
                self.setting.check(self.setting.name, each)


def known_settings(core: type) -> dict[str, RunSetting]:
    """Return every setting of a run by name: those of a class, the choices, and those of all components.

    Args:
        core: a class of settings that belong to no component. Each is an attribute with its help as
            docstring, annotated with its type, its group and perhaps a :class:`Setting`.

    Raises:
        ValueError: two components declare different things under one name.
    """
    docs, found = attribute_docs(core), dict[str, RunSetting]()
    for name, hint in get_type_hints(core, include_extras=True).items():
        kind, group, *more = get_args(hint)
        setting = more[0] if more else Setting()
        if not setting.name:
            setting = replace(setting, name=name, help=docs[name])
        found[name] = RunSetting(setting, kind, getattr(core, name), group)
    own = frozenset(found)
    for registry in REGISTRIES.values():
        kind = str if registry.default is not None else str | None
        found[registry.name] = RunSetting(registry.setting, kind, registry.default, registry.group)
        for component in registry.entries:
            for declared in registry.declared(component).values():
                name = declared.setting.name
                before = found.get(name)
                after = _declared(declared, registry, component, before, default_stays=name in own)
                if before is not None and before.setting != after.setting:
                    raise ValueError(
                        f"{registry.name} {component} declares {name!r} in another way than others"
                    )
                found[name] = after
    return found


def attribute_docs(owner: type) -> dict[str, str]:
    """Return the docstrings below the attributes of a class."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(body, ast.ClassDef)
    return {
        ast.unparse(each.target): " ".join(str(ast.literal_eval(below.value)).split())
        for each, below in pairwise(body.body)
        if isinstance(each, ast.AnnAssign) and isinstance(below, ast.Expr)
    }


def _declared(
    declared: Declared, registry: Registry, component: str, before: RunSetting | None, *, default_stays: bool
) -> RunSetting:
    """Return a setting with one more component that has it."""
    own = None if type(None) in _kinds(declared.type) else declared.default
    if before is None:
        kind = declared.type | None if own is None else declared.type
        return RunSetting(declared.setting, kind, own, registry.group, {registry.name: (component,)})
    users = {**before.users, registry.name: (*before.users.get(registry.name, ()), component)}
    if default_stays or own == before.default:
        return RunSetting(declared.setting, before.type, before.default, before.group, users)
    return RunSetting(declared.setting, before.type | None, None, before.group, users)


def _kinds(kind: Any) -> tuple[Any, ...]:
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


_SPOKEN: Mapping[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    type(None): "nothing",
}


def fits(value: object, kind: Any) -> bool:
    """Return whether a value is of a type that a setting may have."""
    for each in _kinds(kind):
        if get_origin(each) is tuple:
            inner = get_args(each)[0]
            if isinstance(value, tuple) and all(fits(part, inner) for part in value):
                return True
        elif each is float:
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                return True
        elif isinstance(value, each) and (each is not int or not isinstance(value, bool)):
            return True
    return False


def spoken(kind: Any) -> str:
    """Return a type in words."""
    kinds = [each for each in _kinds(kind) if each is not type(None)]
    return " or ".join(
        f"several of {_SPOKEN[get_args(each)[0]]}" if get_origin(each) is tuple else _SPOKEN[each]
        for each in kinds
    )
