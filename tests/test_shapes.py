# SPDX-License-Identifier: Apache-2.0
"""Shapes that match or are refused, and the edges of shape: rule 8."""

import by_hand
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from by_hand import INTEGER, LABELS, LOGITS, PAIRS, RTOL, SOFT, SOFTMAX
from cases import each

pytestmark = pytest.mark.quickly_compiled

softmax, pairs = each(SOFTMAX), each(PAIRS)


@pairs
@pytest.mark.parametrize("shape", [(4, 1), (1,), (1, 4), (3,), ()])
def test_shapes_match_or_are_refused(loss, shape):
    """Rule 8: the message quotes the call, the shape it got and the one it wants."""
    message = rf"jaxent\.{loss.function}\((.|\n)*\(4,\)(.|\n)*got {shape}".replace(
        "()", r"\(\)") if shape == () else rf"jaxent\.{loss.function}\("  # fmt: skip
    with pytest.raises(ValueError, match=message):
        loss.call(jnp.zeros(4), jnp.zeros(shape))


@each(INTEGER)
@pytest.mark.parametrize("shape", [(4, 1), (1, 4), (1,), (3,), (4, 3), ()])
def test_labels_have_the_batch_shape_or_are_refused(loss, shape):
    with pytest.raises(ValueError, match=rf"{loss.function}\(labels=.*\(4,\)"):
        loss.call(LOGITS, jnp.zeros(shape, jnp.int32))


@softmax
def test_a_where_of_the_logits_shape_is_sent_to_class_where(loss):
    labels = jnp.array(LABELS if loss.kind.ids else SOFT)
    with pytest.raises(ValueError, match=r"where=.*`class_where`"):
        loss.call(LOGITS, labels, where=np.ones((4, 3), bool))


@softmax
@pytest.mark.parametrize(
    ("batch", "classes"), [((), 3), ((), 1), ((4,), 1), ((0,), 3), ((2, 0), 1)]
)
def test_edges_of_shape(loss, batch, classes):
    """Empty batches, none at all, and one class, of which the loss is exactly 0."""
    x = jnp.zeros((*batch, classes))
    labels = jnp.zeros(batch, jnp.int32)
    labels = labels if loss.kind.ids else jax.nn.one_hot(labels, classes)
    value, (grad,), tangent = by_hand.modes(lambda x: loss.call(x, labels), x)
    assert value.shape == tangent.shape == batch
    assert value.dtype == grad.dtype == jnp.float32
    expected, slope = by_hand.worked(loss, [1 / classes] * classes, np.eye(classes)[0])
    np.testing.assert_allclose(value, np.full(batch, expected), rtol=RTOL)
    np.testing.assert_allclose(grad, np.broadcast_to(slope, grad.shape), rtol=RTOL)
    nothing = loss.call(x, labels, where=np.zeros(batch, bool))
    np.testing.assert_array_equal(nothing, np.zeros(batch))


@pairs
def test_an_empty_batch_of_any_other_loss_is_empty(loss):
    value, grads, _ = by_hand.modes(loss.call, jnp.zeros((0, 3)), jnp.zeros((0, 3)))
    assert value.shape == ((0,) if loss.kind.classes else (0, 3))
    assert [g.shape for g in grads] == [(0, 3)] * 2


@each([x for x in PAIRS if x.kind.classes])
def test_no_classes_at_all_are_refused(loss):
    with pytest.raises(ValueError, match="at least one class"):
        loss.call(jnp.zeros((2, 0)), jnp.zeros((2, 0)))
