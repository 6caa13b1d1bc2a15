# SPDX-License-Identifier: Apache-2.0
"""The checked mode: a bad label is named, in every transform, and no good one is."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import each, losses
from jax.experimental import checkify

import jaxent

pytestmark = pytest.mark.quickly_compiled

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


def user_error(f, *args):
    error, _ = jax.jit(checkify.checkify(f, errors=checkify.user_checks))(*args)
    return error.get()


def report(f, labels):
    return user_error(f, LOGITS, labels)


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
    """At the prompt: nothing but the way itself compiles."""
    checked = checkify.checkify(way(plainest), errors=checkify.user_checks)
    error, _ = checked(LOGITS, with_label(7, 1, 1))
    assert "got 7 at flat position" in error.get()
    assert checked(LOGITS, jnp.array(LABELS))[0].get() is None


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


# What a row is wrong by: a function, its arrays, and the argument that is out of range
# in the second position, which has the value named, and what it must be.
P, LOG = np.full((3, 2), 0.5, np.float32), np.zeros((3, 2), np.float32)
UNIT, UP, DOWN = "be from 0 to 1", "be from 0 up", "be at most 0"
IDS = np.zeros(3, np.int32)
OUT_OF_RANGE = [
    ("sigmoid_binary_cross_entropy", (LOG, P), 1, 1.5, UNIT),
    ("sigmoid_focal_loss", (LOG, P), 1, -0.5, UNIT),
    ("binary_cross_entropy", (P, P), 0, 1.5, UNIT),
    ("binary_cross_entropy", (P, P), 1, -0.5, UNIT),
    ("categorical_cross_entropy", (P, P), 0, -0.5, UNIT),
    ("categorical_cross_entropy", (P, P), 1, -0.5, UP),
    ("negative_log_likelihood", (LOG, IDS), 0, 0.5, DOWN),
    ("softmax_cross_entropy", (LOG, P), 1, -0.5, UP),
    ("poly_loss_cross_entropy", (LOG, P), 1, -0.5, UP),
    ("kl_divergence", (LOG, P), 0, 0.5, DOWN),
    ("kl_divergence", (LOG, P), 1, 1.5, UNIT),
    ("kl_divergence_with_log_targets", (LOG, LOG), 0, 0.5, DOWN),
    ("kl_divergence_with_log_targets", (LOG, LOG), 1, 0.5, DOWN),
    ("generalized_kl_divergence", (LOG, P), 1, -0.5, UP),
    ("entropy", (P,), 0, 1.5, UNIT),
    ("cross_entropy", (P, P), 0, 1.5, UNIT),
    ("cross_entropy", (P, P), 1, -0.5, UNIT),
    ("js_divergence", (P, P), 0, -0.5, UNIT),
    ("js_divergence", (P, P), 1, 1.5, UNIT),
]


TOP_K = [("log_probs", 1, 0.5, False), ("log_probs", 1, 0.5, True),
         ("tail_log_prob", 2, 0.25, False)]  # fmt: skip


@pytest.mark.parametrize(("argument", "at", "bad", "fused"), TOP_K)
def test_a_teacher_s_mass_above_1_is_named_where_it_is_read(argument, at, bad, fused):
    name = "linear_" * fused + "kl_divergence_from_top_k"
    w = np.ones((4, 1), np.float32)
    student = (LOG[:, :1], w) if fused else (np.zeros((3, 4), np.float32),)

    def loss(ids, log_probs, tail, where):
        f = getattr(jaxent, name)
        return f(*student, ids, log_probs, tail_log_prob=tail, where=where)

    check = jax.jit(checkify.checkify(loss, errors=checkify.user_checks))
    given = [
        np.array([[0, 1], [2, -1], [1, 0]]),
        np.full((3, 2), -2, np.float32),
        np.full(3, -3, np.float32),
        np.ones(3, bool),
    ]
    assert check(*given)[0].get() is None
    given[at][1] = bad
    message = check(*given)[0].get()
    assert f"`jaxent.{name}({argument}=...)` must be at most 0; got {bad} at" in message
    dropped = [*given[:3], np.array([True, False, True])]
    assert check(*dropped)[0].get() is None
    if argument == "log_probs":
        # Where there is no entry, there is no mass.
        given[0][1] = -1
        assert check(*given)[0].get() is None


@pytest.mark.parametrize(("name", "args", "at", "bad", "must"), OUT_OF_RANGE)
def test_a_value_out_of_range_is_named_unless_it_is_dropped(name, args, at, bad, must):
    f = getattr(jaxent, name)
    spoilt = [*args]
    spoilt[at] = spoilt[at].copy()
    spoilt[at][1, 1] = bad
    argument = list(inspect.signature(f).parameters)[at]
    loss = jax.jit(jax.grad(lambda *args: f(*args).sum()))
    message = user_error(loss, *spoilt)
    assert f"`jaxent.{name}({argument}=...)` must {must}; got {bad} at flat" in message
    assert "position 3." in message
    assert user_error(f, *args) is None
    elements = losses(lambda x: x.function == name)[0].kind.classes is False
    keep = np.ones((3, 2) if elements else 3, bool)
    keep[1] = False
    assert user_error(lambda *args: f(*args, where=keep), *spoilt) is None


SCALARS = [
    ("softmax_cross_entropy", (LOG, P), {"label_smoothing": 1.5}, UNIT),
    ("softmax_cross_entropy", (LOG, P), {"z_loss": -0.5}, UP),
    ("softmax_cross_entropy", (LOG, P), {"temperature": 0.0}, "be above 0"),
    ("softmax_focal_loss", (LOG, IDS), {"gamma": -0.5}, UP),
    ("sigmoid_focal_loss", (LOG, P), {"alpha": 1.5}, UNIT),
    ("sigmoid_binary_cross_entropy", (LOG, P), {"pos_weight": -0.5}, UP),
    ("generalized_cross_entropy", (LOG, IDS), {"q": 1.5}, UNIT),
    ("poly_loss_cross_entropy", (LOG, P), {"epsilon": np.inf}, "be from -1 up"),
    ("binary_cross_entropy", (P, P), {"eps": 0.75}, "be from 0 to 0.5"),
    ("linear_softmax_cross_entropy", (P, P, IDS), {"softcap": -0.5}, "be above 0"),
]


@pytest.mark.parametrize(("name", "args", "option", "must"), SCALARS)
def test_a_traced_option_out_of_range_is_named(name, args, option, must):
    ((argument, bad),) = option.items()

    def loss(x):
        return getattr(jaxent, name)(*args, **{argument: x})

    message = user_error(jax.jit(loss), bad)
    assert f"`jaxent.{name}({argument}=...)` must {must}; got {bad}" in message
    assert user_error(jax.jit(loss), 0.25) is None
