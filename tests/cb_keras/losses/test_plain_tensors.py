"""The short way of plain tensors, eager on TensorFlow and PyTorch, gives what the long one does."""

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import checks, fused
from cb_keras.losses import base
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, kinds
from tests.cb_keras.gradients import BACKEND
from tests.fused_library import ensure_library

pytestmark = pytest.mark.skipif(
    BACKEND not in ("tensorflow", "torch"), reason="this backend has no such way"
)
on_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="a matter of TensorFlow")


@pytest.fixture(autouse=True)
def library():
    ensure_library()


@pytest.fixture
def long_way(monkeypatch):
    """What was looked into."""
    seen = []
    monkeypatch.setattr(base, "to_tensors", lambda *a: seen.append(a) or checks.to_tensors(*a))
    return seen


def tensors(dtype="float32", label_dtype="int64"):
    """Class ids and logits that are nothing but eager tensors."""
    if BACKEND == "torch":
        import torch

        logits = torch.tensor(LOGITS, dtype=getattr(torch, dtype), requires_grad=True)
        return torch.tensor(IDS, dtype=getattr(torch, label_dtype)), logits
    import tensorflow as tf

    return tf.constant(IDS, label_dtype), tf.constant(LOGITS, dtype)


def used(loss):
    """The loss after its first call, which looks at the values of its predictions."""
    loss(*tensors())
    return loss


def called(loss, labels, logits):
    """The loss and the gradient of its sum, numpy arrays."""
    if BACKEND == "torch":
        import torch

        value = loss(labels, logits)
        return value.detach().numpy(), torch.autograd.grad(value.sum(), logits)[0].float().numpy()
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return value.numpy(), tf.cast(tape.gradient(value, logits), "float32").numpy()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
@kinds
def test_plain_tensors_give_the_loss_and_gradient_of_any_others(kind, reduction, dtype, long_way):
    labels, logits = tensors(dtype)
    loss = used(CLASSES[kind](COUNTS, fused=True, reduction=reduction))
    expected = called(loss, labels[:, None], logits)  # an axis more: the long way
    before = len(long_way)
    for found, right in zip(called(loss, labels, logits), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    assert len(long_way) == before


@pytest.mark.parametrize("label_dtype", ["int32", "int64"])
def test_a_label_that_is_no_class_is_named_on_the_short_way_too(label_dtype):
    labels, logits = tensors(label_dtype=label_dtype)
    loss = used(CLASSES["softmax"](COUNTS, fused=True))
    with pytest.raises(ValueError, match="-3"):
        loss(labels * 0 - 3, logits)


def test_predictions_with_a_mask_are_looked_into(long_way):
    labels, logits = tensors()
    loss = used(CLASSES["softmax"](COUNTS, fused=True))
    masked = logits * 1
    masked._keras_mask = ops.convert_to_tensor([True] * (len(IDS) - 1) + [False])
    rest = float(loss(labels[:-1], logits[:-1]))
    before = len(long_way)
    np.testing.assert_allclose(float(loss(labels, masked)), rest, rtol=1e-6)
    assert len(long_way) == before + 1


def test_a_loss_that_overrides_call_is_asked():
    class Doubled(CLASSES["softmax"]):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

    labels, logits = tensors()
    once, twice = used(CLASSES["softmax"](COUNTS)), used(Doubled(COUNTS))
    np.testing.assert_allclose(float(twice(labels, logits)), 2 * float(once(labels, logits)))


def test_a_call_that_was_replaced_is_asked_each_time():
    labels, logits = tensors()
    loss, plain = CLASSES["softmax"](COUNTS), CLASSES["softmax"](COUNTS)
    original, right = loss.call, float(plain(labels, logits))
    loss.call = lambda *a: 5 * original(*a)
    for _ in range(3):
        np.testing.assert_allclose(float(loss(labels, logits)), 5 * right, rtol=1e-6)


def test_class_weights_that_were_assigned_count(long_way):
    labels, logits = tensors()
    loss = used(CLASSES["focal"](COUNTS, fused=True))
    before = float(loss(labels, logits))
    loss.class_weights.assign(3 * loss.class_weights)
    np.testing.assert_allclose(float(loss(labels, logits)), 3 * before, rtol=1e-6)
    assert len(long_way) == 1


@on_tensorflow
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
@kinds
def test_derivatives_of_every_kind_are_those_of_the_long_way(kind, reduction):
    import tensorflow as tf

    labels, logits = tensors()
    direction = tf.constant(np.random.default_rng(0).normal(size=LOGITS.shape), tf.float32)
    loss = used(CLASSES[kind](COUNTS, fused=True, reduction=reduction))

    def derivatives(labels):
        weights = loss.class_weights.value
        with tf.GradientTape(persistent=True) as outer:
            outer.watch([logits, weights])
            with tf.GradientTape() as inner:
                inner.watch(logits)
                value = tf.reduce_sum(loss(labels, logits)) ** 2
            slope = inner.gradient(value, logits)
            along = tf.reduce_sum(slope * direction)
        with tf.autodiff.ForwardAccumulator(logits, direction) as forward:
            forward_value = loss(labels, logits)
        return (
            outer.gradient(along, logits),
            outer.gradient(value, weights),
            outer.gradient(along, weights),
            forward.jvp(forward_value),
        )

    for found, right in zip(derivatives(labels), derivatives(labels[:, None]), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


@on_tensorflow
def test_nothing_is_short_in_graphs_and_under_strategies(monkeypatch):
    import tensorflow as tf

    labels, logits = tensors()
    loss = used(CLASSES["softmax"](COUNTS, fused=True))
    right = float(loss(labels, logits))
    monkeypatch.setattr(fused.plain, "loss", lambda *_: pytest.fail("the short way"))
    np.testing.assert_allclose(float(tf.function(loss)(labels, logits)), right, rtol=1e-6)
    with tf.distribute.OneDeviceStrategy("cpu:0").scope():
        np.testing.assert_allclose(float(loss(labels, logits)), right, rtol=1e-6)


@on_tensorflow
def test_no_examples_are_left_to_keras():
    import tensorflow as tf

    loss = used(CLASSES["softmax"](COUNTS, fused=True))
    none = tf.zeros([0], tf.int64), tf.zeros([0, len(COUNTS)])
    assert loss(*none).shape == keras.losses.SparseCategoricalCrossentropy()(*none).shape == (0,)


def test_what_is_plain_is_of_the_right_kind():
    labels, logits = tensors()
    number = len(COUNTS)
    assert fused.plain.are_plain(labels, logits, number, False)
    assert not fused.plain.are_plain(labels, logits, number + 1, False)
    assert not fused.plain.are_plain(labels[:-1], logits, number, False)
    assert not fused.plain.are_plain(labels[:, None], logits, number, False)
    assert not fused.plain.are_plain(IDS, logits, number, False)
    assert not fused.plain.are_plain(ops.cast(labels, "float32"), logits, number, False)
    assert not fused.plain.are_plain(labels, ops.cast(logits, "float64"), number, False)
    assert not fused.plain.are_plain(labels, keras.Variable(LOGITS), number, False)


@on_tensorflow
@pytest.mark.parametrize("make", ["tf.Variable", "keras.Variable"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", None])
def test_logits_that_are_a_variable_have_a_gradient(make, reduction):
    import tensorflow as tf

    labels, logits = tensors()
    loss = used(CLASSES["focal"](COUNTS, fused=True, reduction=reduction))
    right = called(loss, labels, logits)
    variable = (tf if make == "tf.Variable" else keras).Variable(logits)
    watched = variable if make == "tf.Variable" else variable.value
    with tf.GradientTape() as tape:
        value = loss(labels, variable)
    np.testing.assert_array_equal(value, right[0])
    np.testing.assert_allclose(tape.gradient(value, watched), right[1], rtol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="a matter of PyTorch")
@kinds
def test_many_gradients_at_once_are_those_of_one_at_a_time(kind):
    import torch

    labels, logits = tensors()
    loss = used(CLASSES[kind](COUNTS, fused=True, reduction=None))
    rows = torch.randn(3, len(IDS), generator=torch.Generator().manual_seed(0))
    (found,) = torch.autograd.grad(
        loss(labels, logits), logits, grad_outputs=rows, is_grads_batched=True
    )
    for row, slope in zip(rows, found, strict=True):
        (right,) = torch.autograd.grad(loss(labels, logits), logits, grad_outputs=row)
        torch.testing.assert_close(slope, right)
    jacobian = torch.autograd.functional.jacobian(
        lambda z: loss(labels, z), logits.detach(), vectorize=True
    )
    torch.testing.assert_close(torch.einsum("gn,nmc->gmc", rows, jacobian), found)


@pytest.mark.skipif(BACKEND != "torch", reason="the other doors check lengths themselves")
def test_the_kernels_read_no_weights_that_are_not_there():
    import torch

    labels, logits = tensors()
    loss = used(CLASSES["softmax"](COUNTS, fused=True))
    loss._class_weights = keras.Variable(torch.ones(2), trainable=False)
    with pytest.raises(ValueError, match="`class_weights` has 2 classes, the logits have 3"):
        loss(labels, logits)
