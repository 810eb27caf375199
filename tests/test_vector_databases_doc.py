"""The lines of docs/how-to/vector-databases.md that can be run here give the exact lists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gclrec.recall.recommender import Recommender
from gclrec.stores.upload import export_to
from tests.recall.fake_run import write_run
from tests.stores.conftest import new_store, postgres

__all__ = ["new_store", "postgres"]  # fixtures

PAGE = (Path(__file__).parents[1] / "docs" / "how-to" / "vector-databases.md").read_text(encoding="utf-8")


def block(heading: str) -> str:
    """Return the first block of code below a heading."""
    below = PAGE.partition(f"# {heading}\n")[2]
    found = re.search(r"```\w+\n(.*?)```", below, re.DOTALL)
    assert found is not None, heading
    return found[1]


@pytest.mark.parametrize(("heading", "module"), [("DuckDB", "duckdb"), ("Chroma", "chromadb")])
@pytest.mark.parametrize("ids", ["big", "string"])
def test_lists_from_the_bundle(heading: str, module: str, ids: str, tmp_path: Path) -> None:
    pytest.importorskip(module)
    run = write_run(tmp_path / "run", ids=ids)
    export_to(run.path, f"bundle:{tmp_path / 'bundle'}")
    recommender = Recommender.load(run.path)
    for row in (1, 5, 20):
        values: dict[str, Any] = {"bundle": tmp_path / "bundle", "user": run.users.ids[row]}
        exec(block(heading), values)
        expected = recommender.recommend(run.users.ids[row], 10)
        if heading == "Chroma":
            values["client"].delete_collection("items")
        assert [str(item) for item, _ in values["best"]] == [str(item) for item, _ in expected]
        assert [score for _, score in values["best"]] == pytest.approx([s for _, s in expected], abs=1e-5)


def test_the_query_of_postgresql(new_store: Any, tmp_path: Path) -> None:
    url = new_store("postgresql")
    run = write_run(tmp_path / "run", ids="string")
    export_to(run.path, url)
    import psycopg

    setting, query = block("One query in PostgreSQL").strip().split("\n", 1)
    with psycopg.connect(url) as connection:
        connection.execute(setting.partition(";")[0])
        for row in (0, 1, 5):
            user = run.users.ids[row]
            found = connection.execute(query, {"user": user}).fetchall()
            assert [item for item, _ in found] == [
                item for item, _ in Recommender.load(run.path).recommend(user, 10)
            ]


def test_one_more_coordinate_makes_the_cosine_rank_as_the_inner_product() -> None:
    random = np.random.default_rng(4)
    items = random.normal(size=(200, 8)) * random.lognormal(0, 1, (200, 1))
    items[7] = 0
    user = random.normal(size=8)
    values: dict[str, Any] = {"items": items, "user": user}
    exec(block("Redis"), values)
    np.testing.assert_allclose(values["scores"], items @ user, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(values["stored"], axis=1), 1, atol=1e-9)
    plain = items @ user / np.maximum(np.linalg.norm(items, axis=1), 1e-12)
    assert np.argmax(plain) != np.argmax(items @ user)
