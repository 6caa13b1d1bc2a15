# SPDX-License-Identifier: Apache-2.0
"""Settings of every test and doctest: JAX at its strictest, four printed digits.

Eight devices of the CPU, for what is sharded; the rest runs on the first.
"""

import gc
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# Small programs are compiled faster in one piece.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_cpu_parallel_codegen_split_count=1"
)

import jax
import jax.numpy as jnp
import pytest

import jaxent

# Tracing makes many small objects, and few that only a collection frees.
gc.set_threshold(200_000, 20, 50)

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(jax=jax, jnp=jnp, jaxent=jaxent)
    with jnp.printoptions(precision=4):
        yield


@pytest.fixture(autouse=True, scope="module")
def _programs_end_with_their_module():
    """A worker would keep every compiled program, in the end 6 GB of them."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """Double precision for one test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(autouse=True)
def _quickly_compiled(request):
    """Without LLVM's optimisations: they cost small programs more than they save.

    `make test` runs what is marked so by itself, with less of XLA's as well.
    """
    quickly = request.node.get_closest_marker("quickly_compiled") is not None
    jax.config.update("jax_disable_most_optimizations", quickly)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
