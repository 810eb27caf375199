r"""A validation part as unlike train as later pairs are unlike earlier ones, where no times are known.

What is held out at random is like what stays, so it favours whatever fits train best; a test part of later
pairs is not like that. Here an invented time stands in for the true one: every item has a place in it, near
those of the items that the same users have, and every user's last pairs are held out. So some items have most
of their pairs in the held-out part and others hardly any, and what a user has there is alike and not quite
like the rest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gclrec.data.interactions import Interactions

_STEPS = 2
"""Walks from items to users and back by which an item's place becomes like that of its neighbours."""


def invented_times(
    pairs: Interactions, luck: npt.NDArray[np.float64], drift: float, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    r"""Return a time for each pair, by which every user's pairs can be ordered.

    .. math:: t_{ui} = \delta\, s_i + \varepsilon_{ui}, \qquad
        s \propto (D_I^{-1} R^\top D_U^{-1} R)^2 z, \quad z_i, \varepsilon_{ui} \sim N(0, 1)

    with :math:`s` at mean 0 and variance 1 over the pairs.

    Args:
        pairs: those to be ordered.
        luck: ``(E,)`` uniform in ``[0, 1)``, what :math:`\varepsilon` is made of.
        drift: :math:`\delta`; with 0 the order is random.
        generator: where :math:`z` is drawn from.
    """
    import scipy.sparse
    import scipy.special

    shape = (pairs.num_users, pairs.num_items)
    matrix = scipy.sparse.csr_array((np.ones(len(pairs)), (pairs.user, pairs.item)), shape=shape)
    matrix.sort_indices()  # sums do not depend on the order of the rows
    of_user, of_item = (np.maximum(degree, 1) for degree in (pairs.user_degrees(), pairs.item_degrees()))
    place = generator.standard_normal(pairs.num_items)
    for _ in range(_STEPS):
        place = (matrix.T @ ((matrix @ place) / of_user)) / of_item
    each = place[pairs.item]
    spread = each.std()
    each = (each - each.mean()) / (spread if spread > 0 else 1.0)
    noise: npt.NDArray[np.float64] = scipy.special.ndtri(np.clip(luck, 1e-12, 1 - 1e-12))
    times: npt.NDArray[np.float64] = drift * each + noise
    return times
