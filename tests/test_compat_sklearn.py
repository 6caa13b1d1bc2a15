# SPDX-License-Identifier: Apache-2.0
"""scikit-learn's numbers, as two of its releases printed them."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import replay

from jaxent.compat import sklearn

pytestmark = pytest.mark.quickly_compiled


def quiet(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return sklearn.log_loss(*args, **options)


GOLDEN = replay.Golden("sklearn", lambda name: sklearn.log_loss)
OLD = replay.Golden("sklearn_1_1", lambda name: sklearn.log_loss)
EAGER = replay.Golden(
    "sklearn", lambda name: quiet, only=("probs float64)", "row float64)")
)


@pytest.mark.parametrize("name", GOLDEN.cases, ids=str)
def test_the_number_scikit_learn_prints(name):
    replay.check(GOLDEN, name)


@pytest.mark.parametrize("name", OLD.cases, ids=str)
def test_the_number_an_old_release_printed(name):
    replay.check(OLD, name)


@pytest.mark.parametrize("name", EAGER.cases, ids=str)
def test_the_number_of_an_eager_call(name):
    replay.check(EAGER, name)


def test_strings_and_indicator_rows_are_labels_too():
    p = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    expected = sklearn.log_loss([0, 2], p, labels=[0, 1, 2])
    np.testing.assert_allclose(expected, -np.log([0.7, 0.8]).mean(), rtol=1e-6)
    names = ["ant", "bee", "cat"]
    assert sklearn.log_loss(["ant", "cat"], p, labels=names) == expected
    assert sklearn.log_loss([[1, 0, 0], [0, 0, 1]], p) == expected
    assert sklearn.log_loss([(1, 0, 0), (0, 0, 1)], y_pred=p) == expected


class Column:
    """A column of a data frame, as far as NumPy sees one."""

    def __init__(self, labels):
        self.labels = labels

    def __array__(self, dtype=None, copy=None):
        return np.array(self.labels, dtype)


def test_a_column_of_labels_is_labels():
    p = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    names = ["ant", "bee", "cat"]
    expected = sklearn.log_loss(["ant", "cat"], p, labels=names)
    for column in (["ant", "cat"], [["ant"], ["cat"]]):
        assert sklearn.log_loss(column, p, labels=names) == expected
        assert sklearn.log_loss(Column(column), p, labels=Column(names)) == expected
        assert sklearn.log_loss(np.array(column, object), p, labels=names) == expected
    traced = jax.jit(lambda y: sklearn.log_loss(y, p))(jnp.array([[0], [2]]))
    np.testing.assert_allclose(traced, expected, rtol=1e-6)


def test_a_traced_label_that_is_unknown_is_nan():
    p = jnp.array([0.2, 0.7])
    loss, gradient = jax.jit(jax.value_and_grad(sklearn.log_loss, argnums=1))(
        jnp.array([0, 3]), p
    )
    assert np.isnan(loss)
    assert np.isnan(gradient[1])


def test_its_warnings():
    with pytest.warns(UserWarning, match="The y_prob values do not sum to one"):
        sklearn.log_loss([0, 1], jnp.array([[0.5, 0.4], [0.5, 0.5]]))
    with pytest.warns(UserWarning, match=r"labels=\['bee', 'cat'\]"):
        sklearn.log_loss(["cat", "bee"], jnp.array([0.5, 0.4]), labels=["cat", "bee"])


P = jnp.array([0.2, 0.7])
IN_ORDER = "Give all classes, in sorted order, by `labels=`."
TWO = "have 2 classes, one for each column of `y_proba`"
PROBABILITIES = "Pass probabilities: the softmax of logits, not logits."


@pytest.mark.parametrize(
    ("args", "options", "argument", "must", "got", "remedy"),
    [
        (([0, 1], P + 1), {}, "y_proba", "be in [0, 1]", "1.2000000476837158",
         PROBABILITIES),
        (([0, 1], P * jnp.nan), {}, "y_proba", "be in [0, 1]", "nan", PROBABILITIES),
        (([], P[:0]), {}, "y_proba", "have one or two axes, and a sample", "(0,)",
         "Give each sample its probability, or a row of them."),
        (([0, 1, 1], P), {}, "y_true",
         "have 2 labels, one for each row of `y_proba`", "3",
         "Give each sample its label."),
        (([0, 0], P), {}, "y_true", TWO, "[0]", IN_ORDER),
        (([0, 1], P), {"labels": [0, 1, 2]}, "labels", TWO, "[0, 1, 2]", IN_ORDER),
        (([0, 3], P), {"labels": [0, 1]}, "y_true", "be among the labels [0, 1]",
         "[3]", "Declare every label that there is."),
        (([0, 1], P), {"sample_weight": P * 0}, "sample_weight",
         "have at least one number that is not 0", "zeros",
         "A mean over nothing has no value."),
    ],
)  # fmt: skip
def test_its_errors(args, options, argument, must, got, remedy):
    with pytest.raises(ValueError, match="log_loss") as error:
        sklearn.log_loss(*args, **options)
    call = f"`jaxent.compat.sklearn.log_loss({argument}=...)`"
    assert str(error.value) == f"{call} must {must}; got {got}. {remedy}"


def test_what_is_known_is_checked_under_jit():
    """Constants of a traced function are no tracers, and not made ones by the look."""

    def loss(weight):
        return sklearn.log_loss([0, 1], P, sample_weight=[1.0, 1.0]) * weight

    plain = sklearn.log_loss([0, 1], P, sample_weight=[1.0, 1.0])
    np.testing.assert_allclose(jax.jit(loss)(2.0), 2 * plain, rtol=1e-6)
