# SPDX-License-Identifier: Apache-2.0
"""The doors: functions as they were, but for whom a mistake is answered."""

import inspect
import operator
import pickle
import traceback
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxent
from jaxent._errors import door, fail

X, Y = jnp.zeros((8, 5)), jnp.zeros(8, jnp.int32)
PACKAGE = str(Path(jaxent.__file__).parent)
LOSS = jaxent.softmax_cross_entropy_with_integer_labels
MODULES = [
    operator.attrgetter(name)(jaxent)
    for name in ("samplers", "compat.optax", "compat.sklearn", "compat.tensorflow",
                 "compat.tensorflow.losses", "compat.torch", "compat.keras")
]  # fmt: skip
PUBLIC = [
    f
    for name, f in vars(jaxent).items()
    if inspect.isfunction(f) and not name.startswith("_")
] + [
    f
    for module in MODULES
    for name, f in vars(module).items()
    if inspect.isfunction(f) and f.__module__.startswith(module.__name__)
    if not name.startswith("_")
]


def name_of(f):
    """As the shop window has it."""
    return f"{f.__module__.split('._')[0]}.{f.__name__}"


@pytest.mark.parametrize("f", PUBLIC, ids=name_of)
def test_every_public_function_is_a_door(f):
    """What is missing is answered by its own name, by the frame of the door alone."""
    assert inspect.isfunction(f)
    assert pickle.loads(pickle.dumps(f)) is f
    signature = inspect.signature(f)
    assert signature.return_annotation is not inspect.Signature.empty
    with pytest.raises(TypeError) as error:
        f()
    first = next(iter(signature.parameters))
    assert str(error.value).startswith(f"`{name_of(f)}({first}=...)` must be given")
    assert len(traceback.extract_tb(error.value.__traceback__)) == 2  # this, the door


def test_no_frame_of_ours_is_between_the_mistake_and_its_answer():
    def of_the_caller():
        return jaxent.compat.keras.CategoricalCrossentropy()(X[:3], X)

    for call in (of_the_caller, jax.jit(of_the_caller)):
        with pytest.raises(ValueError, match="y_true") as error:
            call()
        frames = traceback.extract_tb(error.value.__traceback__)
        inside = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
        assert [Path(frame.filename).name for frame in inside] == ["_errors.py"]
        assert error.value.__suppress_context__


def test_what_is_no_refusal_passes_through_whole():
    def function(s):
        return {}["nll"]

    with pytest.raises(KeyError) as error:
        jaxent.linear_softmax_loss(function, X, X, Y)
    frames = traceback.extract_tb(error.value.__traceback__)
    assert {"linear_softmax_loss", "function"} < {frame.name for frame in frames}


def test_a_mistake_in_the_callers_function_is_its_own():
    def function(s):
        return jaxent.reduce(s.nll, reduction="average")

    with pytest.raises(ValueError, match="reduction") as error:
        jaxent.linear_softmax_loss(function, X, X, Y)
    assert str(error.value).startswith("`jaxent.reduce(reduction=...)` must be one of")
    frames = traceback.extract_tb(error.value.__traceback__)
    assert "function" in {frame.name for frame in frames}


@door(first="mine")
def outer(mine, other=None):
    return inner(mine)


@door
def inner(first):
    remedy = "Give `first`, or `first[0]`; first as a word stays, and `a.first` too."
    fail(ValueError, "first.ids", "be of `first`'s shape", first, remedy)


def test_each_door_has_its_own_words():
    with pytest.raises(ValueError, match=r"inner\(first\.ids=") as error:
        inner(1)
    assert "must be of `first`'s shape; got 1. Give `first`" in str(error.value)
    with pytest.raises(ValueError, match=r"outer\(mine\.ids=") as error:
        outer(1)
    assert (
        "must be of `mine`'s shape; got 1. Give `mine`, or `mine[0]`; first as a "
        in (str(error.value))
    )
    assert "`a.first`" in str(error.value)


TAKES = (
    "It takes logits, labels; by name axis, where, weights, class_where, ignore_index, "
    "class_weights, label_smoothing, z_loss, temperature, reduction, vocab_axis_name."
)
REFUSED = {
    "position": ((X, Y, 1), {}, "...", "be called with 2 arguments by position; got 3. "
                 "Options go by name: write `(logits, labels, axis=1)`."),
    "missing": ((X,), {}, "labels=...", "be given; got nothing."),
    "near": ((X, Y), {"weigths": Y}, "weigths=...", "be an argument it has; got "
             "int32[8]. Did you mean `weights`?"),
    "unknown": ((X, Y), {"name": "ce"}, "name=...", "be an argument it has; got 'ce'."),
    "twice": ((X, Y), {"logits": X}, "logits=...", "be given once; got it twice."),
}  # fmt: skip


@pytest.mark.parametrize(
    ("args", "options", "argument", "must"), REFUSED.values(), ids=REFUSED
)
def test_a_call_that_python_refuses(args, options, argument, must):
    with pytest.raises(TypeError) as error:
        LOSS(*args, **options)
    call = f"`jaxent.{LOSS.__name__}({argument})`"
    assert str(error.value) == f"{call} must {must} {TAKES}"


def test_a_door_is_traced_once_and_costs_a_frame():
    count = 0

    @jax.jit
    def step(x):
        nonlocal count
        count += 1
        return LOSS(x, Y).sum()

    np.testing.assert_allclose(step(X), step(X + 1), rtol=1e-6)
    assert count == 1
