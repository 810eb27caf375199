"""The studies are comparisons that ``gclrec compare --config`` can plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gclrec.common.files import read_toml
from gclrec.experiments.comparison import make_plan
from gclrec.settings.config import TrainConfig

STUDIES = sorted((Path(__file__).parents[2] / "scripts" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=[path.stem for path in STUDIES])
def test_every_study_can_be_planned(path: Path) -> None:
    values = read_toml(path)
    apart: dict[str, Any] = {key: values.pop(key, None) for key in ("augs", "grid", "variants", "against")}
    shares = [float(share) for share in values.pop("train_fractions", [])]
    same_steps = values.pop("same_steps", False)
    given = frozenset(values)
    common = TrainConfig.from_dict(values, source=path.name)
    plan = make_plan(
        common,
        augs=apart["augs"] or (),
        named=apart["variants"],
        grid=apart["grid"] or (),
        fractions=shares,
        same_steps=same_steps,
        against=apart["against"],
        given=given,
    )
    assert len(plan.seeds) == 3
    command = f"gclrec compare --config scripts/studies/{path.name} --out runs/{path.stem}"
    assert command in path.read_text(encoding="utf-8")


def test_there_are_studies() -> None:
    assert STUDIES
