# SPDX-License-Identifier: Apache-2.0
"""Optax's numbers, as Optax printed them."""

import pytest
import replay

from jaxent.compat import optax

pytestmark = pytest.mark.quickly_compiled

GOLDEN = replay.Golden("optax", lambda name: getattr(optax, name))


@pytest.mark.parametrize("name", GOLDEN.cases, ids=str)
def test_the_number_optax_prints(name):
    replay.check(GOLDEN, name)
