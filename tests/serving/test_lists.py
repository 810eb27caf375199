"""The lists of the service are those of the recommender in Python."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from gclrec import Recommender
from tests.recall.folded_run import FoldedRun

from .client import Client
from .conftest import BOTH

pytestmark = BOTH


def same(answer: dict, expected: list) -> None:
    """Check a list against recommendations: ids in order, scores to rounding."""
    assert answer["items"] == [item for item, _ in expected]
    np.testing.assert_allclose(answer["scores"], [score for _, score in expected], rtol=1e-5, atol=1e-6)


def table_of(frame: pl.DataFrame) -> dict:
    return {
        user: list(part.select("item", "score").iter_rows())
        for (user,), part in frame.group_by("user", maintain_order=True)
    }


def test_users_get_their_lists(client: Client, run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    users = run.users.ids.to_list()
    for user in users[1:6]:
        same(client.post("/v1/recommend", {"user": user, "k": 7}).json, recommender.recommend(user, 7))
    many = client.post("/v1/recommend", {"users": users, "k": 5, "exclude_seen": False}).json["results"]
    expected = table_of(recommender.recommend_many(users, 5, exclude_seen=False))
    assert [each["user"] for each in many] == users
    for answer in many:
        assert answer["source"] == "trained"
        same(answer, expected[answer["user"]])
    everything = client.post("/v1/recommend", {"user": users[0]}).json
    assert everything["items"] == everything["scores"] == []  # this user has every item
    assert len(client.post("/v1/recommend", {"user": users[1], "k": 1000}).json["items"]) == 60


def test_ids_keep_their_type(client: Client, run: FoldedRun) -> None:
    user, item = run.users.ids[3], run.items.ids[5]
    plain = client.post("/v1/recommend", {"user": str(user)}).json
    assert plain["user"] == user
    assert all(type(each) is type(item) for each in plain["items"])
    if isinstance(user, int):
        decimal = {"users": [float(user)], "k": 10.0, "exclude": [float(plain["items"][0])]}
        (answer,) = client.post("/v1/recommend", decimal).json["results"]
        assert (answer["user"], answer["items"][:9]) == (user, plain["items"][1:])
    text = client.post("/v1/recommend", {"user": user, "ids_as_strings": True}).json
    assert text["user"] == str(user)
    assert text["items"] == [str(each) for each in plain["items"]]
    assert client.get(f"/v1/items/{item}").json["item"] == item
    assert client.get(f"/v1/items/{item}?ids_as_strings=true").json["item"] == str(item)


def test_restrictions(client: Client, run: FoldedRun) -> None:
    recommender = Recommender.load(run.path)
    user, ids = run.users.ids[4], run.items.ids.to_list()
    asked = {"user": user, "k": 60, "exclude_seen": False}

    def listed(**more: object) -> dict:
        return client.post("/v1/recommend", asked | more).json

    def expected(rows: list[int]) -> list:
        within = recommender.within([ids[row] for row in rows])
        return within.recommend(user, 60, exclude_seen=False)

    same(listed(candidates=ids[10:20]), expected(list(range(10, 20))))
    same(listed(candidates=[*ids[10:12], 10**9]), expected([10, 11]))
    same(listed(exclude=ids[2:]), expected([0, 1]))
    same(listed(cold_only=True), recommender.cold_only().recommend(user, 60, exclude_seen=False))
    comedies = [row for row in range(59) if row % 3 == 0]
    same(listed(filter="genres = comedy"), expected(comedies))
    same(listed(filter="genres = comedy"), expected(comedies))  # from the cache
    same(listed(filter="year < 1965 and not (genres = comedy)"), expected([1, 2, 4]))
    same(listed(filter="genres = comedy", candidates=ids[:5], exclude=ids[:1]), expected([3]))
    same(listed(filter="title = 'Film 7' or year in (1960, 2000)"), expected([0, 7, 40]))
    assert listed(filter="year > 3000")["items"] == []
    known = listed(filter="year = 1962", attributes=True)["attributes"]
    assert known == [{"title": "Film 2", "genres": ["drama"], "year": 1962}]
    assert listed(candidates=ids[59:], attributes=True)["attributes"] == [{}]


def test_unknown_users(client: Client, run: FoldedRun) -> None:
    recommender, ids = Recommender.load(run.path), run.items.ids.to_list()
    missing = client.post("/v1/recommend", {"user": 10**12})
    assert (missing.status, missing.json["type"]) == (404, "urn:gclrec:unknown-user")
    popular = client.post(
        "/v1/recommend", {"user": 10**12, "unknown": "popular", "k": 5, "exclude": ids[:1]}
    ).json
    degrees = np.bincount(run.parts["train"][1], minlength=60)
    degrees[0] = -1
    best = np.argsort(-degrees, kind="stable")[:5]
    assert popular["source"] == "popular"
    assert popular["items"] == [ids[row] for row in best]
    assert popular["scores"] == degrees[best].tolist()
    history = {"user": 10**12, "unknown": "items", "items": ids[3:6], "k": 5}
    answer = client.post("/v1/recommend", history).json
    assert answer["source"] == "items"
    same(answer, recommender.recommend_for(ids[3:6], 5))
    both = {"users": [10**12, run.users.ids[5]], "unknown": "popular", "k": 3}
    first, second = client.post("/v1/recommend", both).json["results"]
    assert (first["source"], second["source"]) == ("popular", "trained")
    same(second, recommender.recommend(run.users.ids[5], 3))


def test_histories(client: Client, run: FoldedRun) -> None:
    recommender, ids = Recommender.load(run.path), run.items.ids.to_list()
    same(
        client.post("/v1/recommend-for", {"items": ids[3:6], "k": 5}).json,
        recommender.recommend_for(ids[3:6], 5),
    )
    user = run.users.ids[2]
    table = pl.DataFrame({"user": [user] * 3, "item": ids[3:6]})
    expected = table_of(recommender.recommend_for(table, 5))[user]
    same(client.post("/v1/recommend-for", {"user": user, "items": ids[3:6], "k": 5}).json, expected)
    unknown = {"items": [*ids[3:6], 10**12], "k": 5}
    assert client.post("/v1/recommend-for", unknown).json["pointer"] == "/items"
    same(
        client.post("/v1/recommend-for", unknown | {"skip_unknown": True}).json,
        recommender.recommend_for(ids[3:6], 5),
    )
    cold = client.post("/v1/recommend-for", {"items": [ids[51]]})
    assert (cold.status, cold.json["detail"]) == (404, "none of the items was seen in training")


def test_similar_items(client: Client, run: FoldedRun) -> None:
    recommender, ids = Recommender.load(run.path), run.items.ids.to_list()
    answer = client.post("/v1/similar", {"item": ids[7], "k": 6}).json
    assert answer["item"] == ids[7]
    same(answer, recommender.similar_items(ids[7], 6))
    few = client.post("/v1/similar", {"item": ids[7], "k": 6, "candidates": [ids[8], ids[9]]}).json
    assert sorted(few["items"], key=str) == sorted([ids[8], ids[9]], key=str)
    assert client.post("/v1/similar", {"item": 10**12}).status == 404


@pytest.mark.parametrize("asked", ["recommend", "recommend-for"])
def test_explanations_add_up(client: Client, run: FoldedRun, asked: str) -> None:
    user, ids = run.users.ids[6], run.items.ids.to_list()
    body = {"user": user, "k": 4, "explain": 2} | ({"items": ids[:2]} if asked == "recommend-for" else {})
    answer = client.post(f"/v1/{asked}", body).json
    for score, parts in zip(answer["scores"], answer["explanations"], strict=True):
        assert len(parts["because"]) == 2
        total = sum(each["contribution"] for each in parts["because"]) + parts["others"] + parts["own"]
        assert abs(total - score) < 1e-5 * max(1, abs(score))


def test_details(client: Client, run: FoldedRun) -> None:
    user, ids = run.users.ids[3], run.items.ids.to_list()
    found = client.get(f"/v1/users/{user}?attributes=true").json
    known = np.flatnonzero(run.known("train", "valid", "test")[3])
    assert (found["user"], found["trained"], found["count"]) == (user, True, len(known))
    assert found["items"] == [ids[row] for row in known]
    assert found["attributes"][0]["title"] == f"Film {known[0]}"
    cold = client.get(f"/v1/items/{ids[51]}").json
    assert (cold["cold"], cold["interactions"], cold["added"]) == (True, 0, False)
    assert cold["attributes"]["year"] == 2011
    assert client.get("/v1/users/nobody").status == client.get("/v1/items/nothing").status == 404
    listed = client.get("/v1/items?search=ilm%2011").json["items"]
    assert listed == [{"item": ids[11], "title": "Film 11"}]
    assert len(client.get("/v1/items?search=film&limit=3").json["items"]) == 3


def test_map_and_description(client: Client, run: FoldedRun) -> None:
    flat = client.get("/v1/map?by=genres").json
    assert sorted(flat["items"], key=str) == sorted(run.items.ids.to_list(), key=str)
    assert flat["groups"] == ["drama", "comedy"]
    assert flat["group"][flat["titles"].index("Film 1")] == 0
    assert max(map(abs, flat["x"])) <= 1
    assert np.var(flat["x"]) > np.var(flat["y"]) > 0
    assert client.get("/v1/map?by=nothing").status == 404
    about = client.get("/v1/run").json
    assert (about["users"], about["items"], about["cold_items"]) == (30, 60, 3)
    assert about["explains"] is True
    assert about["attributes"] == ["title", "genres", "year"]
