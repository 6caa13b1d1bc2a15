# SPDX-License-Identifier: Apache-2.0
"""NumPy's arrays on the device."""

import jax
import numpy as np


def put(x, dtype=None):
    """An array, or a list of numbers, on the device; of the type, or as it is.

    `jnp.asarray` of NumPy's would compile a program for each shape.
    """
    return jax.device_put(np.asarray(x, dtype))


def of_jax(tree):
    """NumPy's numbers in a table of mistakes on the device; all else as it is."""

    def made(x):
        known = isinstance(x, (np.ndarray, np.generic)) and x.dtype.kind not in "OSU"
        return put(x) if known else x

    return jax.tree.map(made, tree)
