"""Seeds every test and doctest, so that none depends on which ran before it in the same process."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Seed the global generators that examples and models without a ``generator`` draw from."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries draw from it
    torch.manual_seed(0)
