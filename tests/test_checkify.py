# SPDX-License-Identifier: Apache-2.0
"""The checked mode: a bad label is named, in every transform, and no good one is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import each, losses
from jax.experimental import checkify

import jaxent

LABELLED = losses(lambda x: x.kind.ids)
plainest = jaxent.softmax_cross_entropy_with_integer_labels
LOGITS = np.zeros((2, 3, 4), np.float32)
LABELS = np.array([[0, 1, 2], [3, 0, 1]])
WAYS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "grad": lambda f: jax.grad(lambda x, y: f(x, y).sum()),
    "jit_value_and_grad": lambda f: jax.jit(
        jax.value_and_grad(lambda x, y: f(x, y).sum())
    ),
    "vmap": jax.vmap,
    "vmap_vmap_grad": lambda f: jax.vmap(jax.vmap(jax.grad(f))),
    "jvp": lambda f: lambda x, y: jax.jvp(lambda x: f(x, y), (x,), (x,)),
}


def report(f, labels):
    error, _ = checkify.checkify(f, errors=checkify.user_checks)(LOGITS, labels)
    return error.get()


def with_label(label, *index):
    labels = LABELS.copy()
    labels[index] = label
    return jnp.array(labels)


@each(LABELLED)
@pytest.mark.parametrize("label", [-1, 4, 2**31 - 1])
def test_a_bad_label_is_named_with_its_flat_position(loss, label):
    message = report(loss.call, with_label(label, 1, 1))
    assert f"jaxent.{loss.function}(labels=...)" in message
    assert f"[0, 4); got {label} at flat position 4." in message


def test_statistics_name_a_bad_label_too():
    message = report(
        lambda x, y: jaxent.softmax_statistics(x, y).nll, with_label(9, 0, 2)
    )
    assert "softmax_statistics(labels=...)` must be in [0, 4); got 9 at flat" in message


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_bad_label_is_named_in_every_transform(way):
    f = way(plainest)
    assert "got 7 at flat position" in report(f, with_label(7, 1, 1))
    assert report(f, jnp.array(LABELS)) is None


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_ignored_labels_are_not_reported(way):
    f = way(lambda x, y: plainest(x, y, ignore_index=-100))
    assert report(f, with_label(-100, 1, 1)) is None
    assert "got -1 at flat position" in report(f, with_label(-1, 1, 1))


@each(LABELLED)
def test_a_position_that_where_drops_is_not_reported(loss):
    bad = with_label(-5, 0, 1)
    assert report(lambda x, y: loss.call(x, y, where=y >= 0), bad) is None
    assert report(lambda x, y: loss.call(x, y, where=y < 3), bad) is not None


def test_the_first_bad_label_is_the_one_named():
    labels = with_label(9, 0, 2).at[1, 2].set(-4)
    assert "got 9 at flat position 2." in report(plainest, labels)


def test_a_checked_function_can_be_jitted_and_throws():
    f = jax.jit(checkify.checkify(plainest, errors=checkify.user_checks))
    error, value = f(LOGITS, with_label(4, 0, 0))
    assert np.isnan(value[0, 0])
    with pytest.raises(checkify.JaxRuntimeError, match="got 4 at flat position 0"):
        error.throw()


def test_empty_batches_have_no_bad_label():
    checked = checkify.checkify(plainest, errors=checkify.user_checks)
    error, _ = checked(jnp.zeros((0, 4)), jnp.zeros((0,), jnp.int32))
    assert error.get() is None


def test_without_checkify_nothing_is_raised():
    value = jax.jit(plainest)(LOGITS, with_label(4, 0, 0))
    assert np.isnan(value).sum() == 1
