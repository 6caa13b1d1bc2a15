# SPDX-License-Identifier: Apache-2.0
"""TensorFlow's numbers, as TensorFlow printed them."""

import operator

import pytest
import replay

from jaxent.compat import tensorflow

GOLDEN = replay.Golden("tensorflow", lambda name: operator.attrgetter(name)(tensorflow))


@pytest.mark.parametrize("name", GOLDEN.cases, ids=str)
def test_the_number_tensorflow_prints(name):
    replay.check(GOLDEN, name)
