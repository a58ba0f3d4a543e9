"""Dense labels of one class of many by value: others are refused, or their loss is NaN."""

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import functional, losses
from tests.cb_keras.cases import COUNTS, IDS, LOGITS, TARGETS
from tests.cb_keras.gradients import BACKEND

LOSSES = [
    losses.ClassBalancedSoftmaxCrossentropy,
    losses.ClassBalancedSoftmaxFocalCrossentropy,
    losses.LDAMCrossentropy,
    losses.LogitAdjustedCrossentropy,
    losses.VectorScalingCrossentropy,
    losses.LabelAwareSmoothingCrossentropy,
]
FUNCTIONS = {
    losses.ClassBalancedSoftmaxCrossentropy: functional.class_balanced_softmax_crossentropy,
    losses.ClassBalancedSoftmaxFocalCrossentropy: (
        functional.class_balanced_softmax_focal_crossentropy
    ),
    losses.LDAMCrossentropy: functional.ldam_crossentropy,
    losses.LogitAdjustedCrossentropy: functional.logit_adjusted_crossentropy,
    losses.VectorScalingCrossentropy: functional.vector_scaling_crossentropy,
    losses.LabelAwareSmoothingCrossentropy: functional.label_aware_smoothing_crossentropy,
}
every_loss = pytest.mark.parametrize("loss_class", LOSSES, ids=lambda c: c.__name__)
NAN = np.where(TARGETS == 1, np.nan, TARGETS)
# Labels -> what is said of them.
WRONG = {
    "-1 and 1": (2 * TARGETS - 1, r"holds -1 at position \[0, 1\].*Labels are -1/1"),
    "1 and 2": (TARGETS + 1, r"holds 2 at position \[0, 0\].*Labels are 1/2"),
    "counts": (7 * TARGETS, r"holds 7 at position \[0, 0\].*in the order loss\(y_true, y_pred\)"),
    "logits": (LOGITS, r"holds 2 at position \[0, 0\].*in the order loss\(y_true, y_pred\)"),
    "nan": (NAN, r"holds nan at position \[0, 0\]"),
}
wrong = pytest.mark.parametrize(("labels", "words"), WRONG.values(), ids=WRONG)


def tensors(*arrays):
    return [ops.convert_to_tensor(array, "float32") for array in arrays]


def values(loss, *arguments, **options):
    """What a loss gives, as an array."""
    return ops.convert_to_numpy(loss(*arguments, **options))


@every_loss
@wrong
def test_what_is_no_one_hot_label_is_refused_with_its_value(loss_class, labels, words):
    labels, logits = tensors(labels, LOGITS)
    with pytest.raises(ValueError, match=words):
        loss_class(COUNTS)(labels, logits)
    with pytest.raises(ValueError, match=words):
        FUNCTIONS[loss_class](labels, logits, COUNTS)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function")
@every_loss
@wrong
def test_so_it_is_when_a_graph_runs(loss_class, labels, words):
    import tensorflow as tf

    function = tf.function(loss_class(COUNTS))
    assert np.isfinite(function(*tensors(TARGETS, LOGITS)))
    # One position: the labels are looked at as a whole, and the message is by TensorFlow.
    words = words.replace(r"holds ", r"holds\] \[")
    words = (
        words.replace(" at position ", r"\] \[at position\] ")
        .replace(r"\], ", r" ")
        .replace(r"\[0, ", r"\[0 ")
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=words):
        function(*tensors(labels, LOGITS))


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles with a C++ compiler")
@every_loss
@wrong
def test_compiled_by_xla_the_loss_of_such_an_example_is_nan(loss_class, labels, words):
    loss = loss_class(COUNTS, reduction="none")
    if BACKEND == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(loss, jit_compile=True)
    else:
        import jax

        compiled = jax.jit(loss)
    mixed = np.where(np.arange(4)[:, None] == 1, labels, TARGETS)
    is_nan = np.isnan(ops.convert_to_numpy(compiled(*tensors(mixed, LOGITS))))
    assert is_nan.tolist() == [False, True, False, False]


@every_loss
def test_soft_labels_rounded_ones_and_none_at_all_are_taken(loss_class, rng):
    loss = loss_class(COUNTS, reduction="none")
    soft = rng.dirichlet(np.ones(3), 4)
    right = values(loss, *tensors(soft, LOGITS))
    np.testing.assert_allclose(values(loss, *tensors(soft * 1.0005, LOGITS)), right, rtol=1e-3)
    bfloat16 = ops.cast(ops.convert_to_tensor(soft, "float32"), "bfloat16")
    np.testing.assert_allclose(values(loss, bfloat16, *tensors(LOGITS)), right, rtol=0.02)
    assert not values(loss, *tensors(0 * TARGETS, LOGITS)).any()


@every_loss
@wrong
def test_an_example_of_weight_0_may_have_any_labels(loss_class, labels, words):
    loss = loss_class(COUNTS, reduction="none")
    mixed = np.where(np.arange(4)[:, None] == 1, labels, TARGETS)
    weights = np.array([1.0, 0.0, 1.0, 1.0])
    found = values(loss, *tensors(mixed, LOGITS), sample_weight=weights)
    np.testing.assert_allclose(found, weights * values(loss, *tensors(TARGETS, LOGITS)), rtol=1e-6)


@every_loss
def test_ids_have_the_losses_of_their_one_hot_labels_still(loss_class):
    loss = loss_class(COUNTS)
    dense = values(loss, *tensors(TARGETS, LOGITS))
    ids = values(loss, ops.convert_to_tensor(IDS), *tensors(LOGITS))
    np.testing.assert_allclose(dense, ids, rtol=1e-5)


def test_there_is_a_case_of_every_loss_of_one_class_of_many():
    public = [c for c in vars(losses).values() if isinstance(c, type)]
    of_one = [c for c in public if getattr(c, "_multi_hot", None) is False]
    assert {*of_one} == {*LOSSES} == {*FUNCTIONS}
    assert issubclass(losses.AsymmetricCrossentropy, keras.losses.Loss)
