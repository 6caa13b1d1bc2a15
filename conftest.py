# SPDX-License-Identifier: Apache-2.0
"""Settings of every test and doctest: JAX at its strictest, four printed digits.

Eight devices of the CPU, for what is sharded; the rest runs on the first.
"""

import gc
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

# There is a worker for each core: NumPy's threads would only wait in its way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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

# What modules make as they are imported is no test's: a few arrays of zeros.
jax.config.update("jax_disable_most_optimizations", True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Pages and docstrings print four digits."""
    for item in items:
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("quickly_compiled")


def pytest_collection_finish(session):
    """What modules and tests are made of stays: no collection looks at it again."""
    if not all(map(_is_quickly_compiled, session.items)):
        _forget()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    doctest_namespace.update(jax=jax, jnp=jnp, jaxent=jaxent)
    with jnp.printoptions(precision=4):
        yield


KEPT = 400
"""Programs that a worker keeps for the next module: of all it would have 6 GB."""
_compiled = []


def _count(event, *_, **__):
    if event.endswith("backend_compile_duration"):
        _compiled.append(event)


jax.monitoring.register_event_duration_secs_listener(_count)


@pytest.fixture(autouse=True, scope="module")
def _programs_end(request):
    """With their module, if it replaces what programs are made of, or how they are."""
    items = request.session.items
    own = [i for i in items if i.getparent(pytest.Module) is request.node]
    alone = any("monkeypatch" in i.fixturenames for i in own)
    alone |= len({_is_quickly_compiled(i) for i in items}) > 1
    if alone:
        _forget()
    # For what the module's own fixtures make.
    _compile_quickly(all(map(_is_quickly_compiled, own)))
    yield
    if alone or len(_compiled) > KEPT:
        _forget()


def _forget():
    _compiled.clear()
    jax.clear_caches()


def _is_quickly_compiled(item):
    return item.get_closest_marker("quickly_compiled") is not None


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
    _compile_quickly(_is_quickly_compiled(request.node))


def _compile_quickly(quickly):
    # From there a process that a test starts has it.
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = str(quickly)
    jax.config.update("jax_disable_most_optimizations", quickly)
