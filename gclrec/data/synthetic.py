"""A synthetic data set with known causes: interests, popularity, prices, release dates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from gclrec.common.errors import InputError
from gclrec.data.interactions import Dataset, IntArray, Interactions, Vocabulary

_Floats = npt.NDArray[np.float64]

START = 1_640_995_200.0
"""First time: 1 January 2022, 00:00 UTC, in unix seconds."""
SPAN = 2 * 365 * 86_400.0
"""Length of two years in seconds."""

_LEAST = 5  # fewest pairs of a user
_TAGS_PER_INTEREST = 3
_OFF_INTEREST = 0.12  # share of draws by popularity alone; grows in later rounds
_NOVELTY = 90 * 86_400.0  # seconds over which the preference for new items decays
_MISSING = 0.04  # share of missing attribute values
_ROUNDS = 20  # of drawing and rejecting


@dataclass(frozen=True)
class _World:
    """The causes of the interactions; the attribute tables show them with noise."""

    interest: IntArray  # (I,) the one interest of each item
    popularity: _Floats  # (I,) Zipf weights
    price: _Floats  # (I,) log price, about standard normal
    release: _Floats  # (I,) seconds since the start
    taste: _Floats  # (U, K) shares of the interests of each user
    budget: _Floats  # (U,) the log price each user likes best
    joined: _Floats  # (U,) seconds since the start


def make_synthetic(
    num_users: int = 2000, num_items: int = 3000, num_interactions: int = 60_000, *, seed: int = 0
) -> Dataset:
    """Generate a synthetic data set with interests, popularity, activity, attributes and times.

    Every item belongs to one latent interest, every user to a few. For each pair a time after the user joined
    is drawn, then one of the user's interests, then one of its items by popularity (Zipf). The item is
    accepted if it is released, with a probability that is higher for new items and for prices near the user's
    budget. Activity is log-normal. A small share of the pairs follows popularity alone.

    The attributes show these causes with noise, so that they are informative for cold users and items:
    ``category`` (of the interest), ``tags`` (several) and ``price`` for items; ``segment`` (category of the
    strongest interest), ``likes`` (several tags) and ``budget`` for users. About 4 % of values are missing.

    Args:
        num_users: ``U``, ids ``u0001`` and so on.
        num_items: ``I``, ids ``i0001`` and so on; some rare items may have no interaction.
        num_interactions: exact number of distinct pairs; at least 5 for each user, at most half of ``U * I``.
        seed: seed of all random numbers; at least 0.

    Returns:
        A data set named ``synthetic`` with ``synthetic=True``, times in unix seconds over two years, and
        pairs in order of time.

    Raises:
        InputError: a number is out of its range.
    """
    _check(num_users, num_items, num_interactions, seed)
    generator = np.random.default_rng(seed)
    num_interests = int(np.clip(round(np.sqrt(num_items) / 2), 4, 64))
    world = _make_world(num_users, num_items, num_interests, generator)
    counts = _activity(num_users, num_items, num_interactions, generator)
    user, item, when = _draw_pairs(world, counts, generator)

    order = np.lexsort((item, user, when))
    users, items = _names("u", num_users), _names("i", num_items)
    interactions = Interactions(
        Vocabulary(users), Vocabulary(items), user[order], item[order], START + when[order]
    )
    user_table, item_table = _attributes(world, generator)
    return Dataset(
        name="synthetic",
        interactions=interactions,
        user_attributes=user_table.insert_column(0, users.alias("id")),
        item_attributes=item_table.insert_column(0, items.alias("id")),
        synthetic=True,
    )


def _check(num_users: int, num_items: int, num_interactions: int, seed: int) -> None:
    if num_users < 1 or num_items < 2 * _LEAST:
        raise InputError(
            f"a synthetic data set needs 1 user, {2 * _LEAST} items or more, got {num_users} and {num_items}"
        )
    low, high = _LEAST * num_users, num_users * num_items // 2
    if not low <= num_interactions <= high:
        raise InputError(
            f"a synthetic data set of {num_users:,} users and {num_items:,} items has {low:,} to {high:,} "
            f"interactions ({_LEAST} a user to half of all pairs), got {num_interactions:,}"
        )
    if seed < 0:
        raise InputError(f"the seed must be 0 or more, got {seed}")


def _make_world(num_users: int, num_items: int, num_interests: int, generator: np.random.Generator) -> _World:
    size = generator.gamma(2.0, size=num_interests)
    interest = generator.choice(num_interests, size=num_items, p=size / size.sum())
    rank = generator.permutation(num_items)
    usual_price = generator.normal(0.0, 0.7, size=num_interests)
    taste = generator.gamma(0.06, size=(num_users, num_interests)) * size + 1e-12
    taste /= taste.sum(axis=1, keepdims=True)
    there_at_first = generator.random(num_items) < 0.4
    return _World(
        interest=interest.astype(np.int64),
        popularity=(rank.astype(np.float64) + 8.0) ** -0.9,
        price=usual_price[interest] + generator.normal(0.0, 0.7, size=num_items),
        release=np.where(there_at_first, 0.0, generator.uniform(0.0, 0.97 * SPAN, size=num_items)),
        taste=taste,
        budget=taste @ usual_price + generator.normal(0.0, 0.7, size=num_users),
        joined=np.where(
            generator.random(num_users) < 0.3, 0.0, generator.uniform(0.0, 0.85 * SPAN, num_users)
        ),
    )


def _activity(num_users: int, num_items: int, total: int, generator: np.random.Generator) -> IntArray:
    """Return log-normal numbers of pairs, ``_LEAST`` to a ceiling each, that add up to ``total``."""
    ceiling = min(num_items, max(num_items // 3, -(-2 * total // num_users)))
    weight = generator.lognormal(0.0, 0.9, size=num_users)
    counts = np.full(num_users, _LEAST, dtype=np.int64)
    while (left := total - int(counts.sum())) > 0:
        room = ceiling - counts
        share = left * np.where(room > 0, weight, 0.0)
        share /= np.where(room > 0, weight, 0.0).sum()
        added = np.minimum(share.astype(np.int64), room)
        if not added.any():  # the shares are all below 1: the most active users get one
            added[np.argsort(-share, kind="stable")[: min(left, np.count_nonzero(room))]] = 1
        counts += added
    return counts


def _draw_pairs(
    world: _World, counts: IntArray, generator: np.random.Generator
) -> tuple[IntArray, IntArray, _Floats]:
    """Draw ``counts[u]`` distinct items and a time for each, by rejection sampling in rounds.

    Users who remain in later rounds have most of the items of their interests, so the share that is drawn by
    popularity alone grows.
    """
    num_items = len(world.interest)
    draw_item = _ItemSampler(world)
    keys, moments = np.empty(0, dtype=np.int64), np.empty(0)  # ascending keys user * I + item
    missing = counts.copy()
    for attempt in range(_ROUNDS):
        if not missing.any():
            break
        user = np.repeat(np.arange(len(counts)), np.minimum(4 * missing + 4, 4000) * (missing > 0))
        when = np.floor(generator.uniform(world.joined[user], SPAN))
        item = draw_item(user, min(1.0, _OFF_INTEREST * 1.3 ** max(0, attempt - 2)), generator)
        age = when - world.release[item]
        fit = np.exp(-0.5 * (world.price[item] - world.budget[user]) ** 2)
        chance = fit * (0.4 + 0.6 * np.exp(-np.maximum(age, 0.0) / _NOVELTY))
        taken = np.flatnonzero((age >= 0) & (generator.random(len(user)) < chance))
        drawn = user[taken] * num_items + item[taken]
        new, first = np.unique(drawn, return_index=True)
        place = np.minimum(np.searchsorted(keys, new), max(len(keys) - 1, 0))
        fresh = np.sort(first[keys[place] != new] if len(keys) else first)  # back in the order drawn
        owner = drawn[fresh] // num_items  # ascending, since users were drawn in order
        kept = fresh[np.arange(len(fresh)) - np.searchsorted(owner, owner) < missing[owner]]
        keys, moments = _merged(keys, moments, drawn[kept], when[taken[kept]])
        missing = counts - np.bincount(keys // num_items, minlength=len(counts))
    keys, moments = _filled_up(world, keys, moments, missing, generator)
    return keys // num_items, keys % num_items, moments


def _merged(
    keys: IntArray, values: _Floats, more_keys: IntArray, more_values: _Floats
) -> tuple[IntArray, _Floats]:
    """Return the union of two sets of keys in ascending order, with their values."""
    keys, values = np.concatenate([keys, more_keys]), np.concatenate([values, more_values])
    order = np.argsort(keys, kind="stable")
    return keys[order], values[order]


class _ItemSampler:
    """Draws an interest of each user by taste, then an item of that interest by popularity."""

    def __init__(self, world: _World) -> None:
        num_users, num_interests = world.taste.shape
        self.num_interests = num_interests
        filled = np.bincount(world.interest, minlength=num_interests) > 0
        taste = world.taste * filled + 1e-12 * filled
        # Row u of a cumulative table lies in (u, u + 1]: one sorted search draws for all users at once.
        shares = np.cumsum(taste, axis=1)
        self.taste = (shares / shares[:, -1:] + np.arange(num_users)[:, None]).ravel()
        self.by_interest = np.argsort(world.interest, kind="stable")
        weight = world.popularity[self.by_interest]
        total = np.bincount(world.interest, weights=world.popularity, minlength=num_interests)
        group = world.interest[self.by_interest]
        before = np.concatenate([[0.0], np.cumsum(total)[:-1]])
        self.within = group + (np.cumsum(weight) - before[group]) / np.where(filled, total, 1.0)[group]
        self.anything = np.cumsum(world.popularity) / world.popularity.sum()

    def __call__(self, user: IntArray, off_interest: float, generator: np.random.Generator) -> IntArray:
        """Return one item for each entry of ``user``; a share of them by popularity alone."""
        place = np.searchsorted(self.taste, user + generator.random(len(user)))
        interest = np.minimum(place - user * self.num_interests, self.num_interests - 1)
        place = np.searchsorted(self.within, interest + generator.random(len(user)))
        item = self.by_interest[np.minimum(place, len(self.by_interest) - 1)]
        other = np.flatnonzero(generator.random(len(user)) < off_interest)
        item[other] = np.searchsorted(self.anything, generator.random(len(other)))
        chosen: IntArray = np.minimum(item, len(self.anything) - 1)
        return chosen


def _filled_up(
    world: _World, keys: IntArray, moments: _Floats, missing: IntArray, generator: np.random.Generator
) -> tuple[IntArray, _Floats]:
    """Give users who still lack pairs popular items that they do not have."""
    num_items = len(world.interest)
    added, when = [np.empty(0, dtype=np.int64)], [np.empty(0)]
    for user in np.flatnonzero(missing):  # very few, and only in very dense data
        start, stop = np.searchsorted(keys, [user * num_items, (user + 1) * num_items])
        liking = world.popularity * generator.exponential(size=num_items)
        liking[keys[start:stop] - user * num_items] = -1.0
        item = np.argsort(-liking, kind="stable")[: missing[user]]
        since = np.maximum(world.release[item], world.joined[user])
        added.append(user * num_items + item)
        when.append(np.ceil(generator.uniform(since, SPAN)))
    return _merged(keys, moments, np.concatenate(added), np.concatenate(when))


def _attributes(world: _World, generator: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the attributes of users and of items, with noise and without ids."""
    num_interests = world.taste.shape[1]
    num_categories = -(-num_interests // 3)
    favourite = world.taste.argmax(axis=1)
    users = pl.DataFrame(
        {
            "segment": _noisy_category(favourite // 3, num_categories, 0.75, generator),
            "likes": _tag_lists(_drawn_interests(world.taste, 3, generator), num_interests, 0.8, generator),
            "budget": _prices(world.budget, 0.4, generator),
        }
    )
    items = pl.DataFrame(
        {
            "category": _noisy_category(world.interest // 3, num_categories, 0.9, generator),
            "tags": _tag_lists(np.tile(world.interest[:, None], 4), num_interests, 0.75, generator),
            "price": _prices(world.price, 0.1, generator),
        }
    )
    return _with_gaps(users, generator), _with_gaps(items, generator)


def _noisy_category(true: IntArray, number: int, right: float, generator: np.random.Generator) -> pl.Series:
    shown = np.where(generator.random(len(true)) < right, true, generator.integers(0, number, len(true)))
    return _names("category-", number).gather(shown)


def _drawn_interests(taste: _Floats, number: int, generator: np.random.Generator) -> IntArray:
    """Return ``(U, number)`` interests drawn from each user's taste."""
    shares = np.cumsum(taste, axis=1)
    drawn = generator.random((len(taste), number))
    interests: IntArray = np.minimum((shares[:, None, :] < drawn[:, :, None]).sum(axis=2), taste.shape[1] - 1)
    return interests


def _tag_lists(
    interests: IntArray, num_interests: int, right: float, generator: np.random.Generator
) -> pl.Series:
    """Return at most as many distinct tags for each row as it has interests, most of them theirs."""
    num_rows, most = interests.shape
    number = num_interests * _TAGS_PER_INTEREST
    home = interests * _TAGS_PER_INTEREST + generator.integers(0, _TAGS_PER_INTEREST, interests.shape)
    tags = np.where(
        generator.random(interests.shape) < right, home, generator.integers(0, number, home.shape)
    )
    shown = np.arange(most) < generator.integers(1, most + 1, num_rows)[:, None]
    row, column = np.nonzero(shown)
    long = pl.DataFrame({"row": row, "tag": _names("tag-", number).gather(tags[row, column])})
    return long.unique().sort("row", "tag").group_by("row", maintain_order=True).agg("tag")["tag"]


def _prices(log_price: _Floats, noise: float, generator: np.random.Generator) -> pl.Series:
    return pl.Series(20.0 * np.exp(log_price + generator.normal(0.0, noise, len(log_price)))).round(2)


def _with_gaps(table: pl.DataFrame, generator: np.random.Generator) -> pl.DataFrame:
    """Return the table with some values missing."""
    known = {name: generator.random(len(table)) >= _MISSING for name in table.columns}
    return table.select(
        pl.when(pl.lit(pl.Series(known[name]))).then(pl.col(name)).otherwise(None).alias(name)
        for name in known
    )


def _names(prefix: str, number: int) -> pl.Series:
    """Return ``number`` zero-padded ids, such as ``u0001``, whose order is that of their numbers."""
    return (
        pl.Series(np.arange(1, number + 1))
        .cast(pl.String)
        .str.zfill(len(str(number)))
        .str.replace("^", prefix)
    )
