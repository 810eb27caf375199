"""A bare service to compare with: FastAPI, and exact scores of all items by NumPy; see bench_serve.py."""

from __future__ import annotations

import os

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel

from gclrec import Recommender

_recommender = Recommender.load(os.environ["BARE_RUN"], use_index=False)
_users = {raw: row for row, raw in enumerate(_recommender.users.ids.to_list())}
_items = np.array(_recommender.items.ids.to_list())
_vectors = np.ascontiguousarray(_recommender.index.vectors)


class Asked(BaseModel):
    """One user or several."""

    user: int | str | None = None
    users: list[int | str] | None = None
    k: int = 10


class Listed(BaseModel):
    """The list of one user."""

    user: int | str
    items: list[int | str]
    scores: list[float]


app = FastAPI()


@app.post("/v1/recommend")
def recommend(asked: Asked) -> list[Listed]:
    """Return the best items that each user does not have."""
    users = asked.users if asked.users is not None else [asked.user or 0]
    rows = np.array([_users[user] for user in users])
    scores = _recommender.user_vectors[rows] @ _vectors.T
    for place, row in enumerate(rows):
        scores[place, _recommender.known[row]] = -np.inf
    best = np.argpartition(-scores, asked.k, axis=1)[:, : asked.k]
    found = []
    for place, user in enumerate(users):
        order = best[place][np.argsort(-scores[place, best[place]])]
        found.append(Listed(user=user, items=_items[order].tolist(), scores=scores[place, order].tolist()))
    return found
