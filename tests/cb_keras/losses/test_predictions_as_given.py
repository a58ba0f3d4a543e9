"""`y_pred` is taken as it is on every path, and known probabilities are warned of."""

import warnings

import keras
import numpy as np
import pytest
from keras import layers, ops

from cb_keras import functional
from tests.cb_keras import reference
from tests.cb_keras.cases import (
    CLASSES,
    IDS,
    LOGITS,
    LOSSES,
    WEIGHTS,
    kinds_both_ways,
    number,
)
from tests.cb_keras.gradients import BACKEND, compiled

PROBABILITIES = reference.softmax(LOGITS, axis=-1)
# What a loss with from_logits=True is for these numbers; its softmax is taken once more.
RIGHT = reference.loss("softmax", PROBABILITIES, reference.one_hot(IDS, 3), WEIGHTS[IDS])
WARNING = "taken for logits.*leave the activation out"


def softmax_loss(**kwargs):
    return CLASSES["softmax"](class_weights=WEIGHTS, reduction=None, **kwargs)


def softmax_model():
    """Ends in a softmax, which Keras marks with its logits; gives PROBABILITIES for LOGITS."""
    return keras.Sequential([keras.Input((3,)), layers.Activation("softmax")])


@pytest.mark.filterwarnings("ignore:.*taken for logits")
@pytest.mark.parametrize("labels", [IDS, reference.one_hot(IDS, 3)], ids=["ids", "one-hot"])
@pytest.mark.usefixtures("both_ways")
def test_the_logits_behind_a_softmax_are_never_looked_at(labels):
    outputs = softmax_model()(ops.convert_to_tensor(LOGITS, dtype="float32"))
    for y_pred in (outputs, ops.cast(outputs, "float32"), number(outputs)):
        np.testing.assert_allclose(number(softmax_loss()(labels, y_pred)), RIGHT, rtol=1e-5)
    by_function = functional.class_balanced_softmax_crossentropy(labels, outputs, WEIGHTS)
    np.testing.assert_allclose(number(by_function), RIGHT, rtol=1e-5)
    without = functional.class_balanced_softmax_crossentropy(labels, outputs)
    np.testing.assert_allclose(number(without), RIGHT / WEIGHTS[IDS], rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.*taken for logits")
@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("jit_compile", [False, True] if BACKEND == "tensorflow" else ["auto"])
def test_fit_takes_the_outputs_of_a_softmax_as_they_are(jit_compile):
    model = softmax_model()
    loss = CLASSES["softmax"](class_weights=WEIGHTS)
    model.compile("sgd", loss, jit_compile=jit_compile)
    value = model.evaluate(LOGITS.astype("float32"), IDS, verbose=0)
    np.testing.assert_allclose(value, RIGHT.mean(), rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_graph_that_ends_in_an_activation_is_warned_of(activation):
    if BACKEND != "tensorflow":
        pytest.skip("only TensorFlow's tensors know what made them")
    import tensorflow as tf

    function = {"softmax": tf.nn.softmax, "sigmoid": tf.sigmoid}[activation]
    for ending in (lambda z: z, lambda z: tf.cast(z, "float32"), tf.identity):

        @tf.function
        def value(z, ending=ending):
            return CLASSES["focal"](class_weights=WEIGHTS)(IDS, ending(function(z)))

        with pytest.warns(UserWarning, match=WARNING):
            value(tf.constant(LOGITS, "float32"))


def test_eager_rows_of_probabilities_are_warned_of_at_the_first_call():
    for y_pred in (PROBABILITIES, ops.convert_to_tensor(PROBABILITIES, dtype="float32")):
        with pytest.warns(UserWarning, match=WARNING):
            softmax_loss()(IDS, y_pred)


def test_an_eager_training_that_ends_in_a_softmax_is_warned_of():
    model = softmax_model()
    model.compile("sgd", CLASSES["softmax"](class_weights=WEIGHTS), run_eagerly=True)
    if BACKEND == "jax":
        pytest.skip("Keras' trainer on JAX hands traced values to the loss")
    with pytest.warns(UserWarning, match=WARNING):
        model.fit(LOGITS.astype("float32"), IDS, verbose=0)


@pytest.mark.parametrize(
    "y_pred", [LOGITS, np.zeros((4, 3)), -PROBABILITIES, 0.5 * PROBABILITIES], ids=lambda _: ""
)
def test_logits_are_not_warned_of(y_pred):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*taken for logits")
        softmax_loss()(IDS, y_pred)
        compiled(lambda z: softmax_loss()(IDS, z))(ops.convert_to_tensor(y_pred, dtype="float32"))


@kinds_both_ways
def test_probabilities_are_welcome_where_they_are_announced(kind):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*taken for logits")
        CLASSES[kind](class_weights=WEIGHTS, from_logits=False)(IDS, PROBABILITIES)


@pytest.mark.parametrize("value", ["False", 0, None, np.zeros(2)], ids=str)
def test_from_logits_is_true_or_false_and_nothing_else(value):
    with pytest.raises(ValueError, match="`from_logits` must be True or False, got"):
        softmax_loss(from_logits=value)
    for function in LOSSES.values():
        with pytest.raises(ValueError, match="`from_logits` must be True or False, got"):
            function(IDS, LOGITS, from_logits=value)
