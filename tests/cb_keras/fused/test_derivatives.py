"""Derivatives of the fused op by all inputs, of every order, against those of the formulas.

The formulas' own derivatives are checked in test_functional_gradients.py.
"""

import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras.cases import LOSSES
from tests.cb_keras.fused.cases import tf

pytestmark = pytest.mark.usefixtures("fused_op")

UPSTREAM = np.arange(6, dtype="float32")  # not what the op expects, and a row of weight 0


def problem(kind, form):
    """`(losses of the op, losses by the formulas)`, functions of the inputs, and the inputs."""
    rng = np.random.default_rng(0)
    logits = tf.constant(3 * rng.normal(size=(6, 5)), "float32")
    weights = tf.constant([0.5, 1.2, 0.0, 2.0, 1.0])
    soft = tf.constant(rng.uniform(size=(6, 5)), "float32")
    ids = tf.constant(rng.integers(0, 5, 6))
    inputs = [logits, weights] + ([soft] if form == "soft" else [])
    formula = LOSSES[kind]
    gamma = {"gamma": 2.0} if "focal" in kind else {}

    def by_op(logits, weights, labels=ids):
        losses = fused.crossentropy(kind, labels, logits, weights, 2.0, expected_upstream=0.25)
        return tf.reduce_sum(UPSTREAM * losses)

    def by_formula(logits, weights, labels=ids):
        return tf.reduce_sum(UPSTREAM * formula(labels, logits, weights, **gamma))

    return by_op, by_formula, inputs


FORMS = [(kind, form) for kind in LOSSES for form in ("ids", "soft")]


def first(function, inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(*inputs)
    return tape.gradient(value, inputs)


def penalty(function, inputs):
    """Gradient of the loss and a penalty on its gradient by the logits."""
    with tf.GradientTape() as outer:
        outer.watch(inputs)
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            value = function(*inputs)
        value += tf.reduce_sum(tf.cast(inner.gradient(value, inputs[0]), "float32") ** 2)
    return outer.gradient(value, inputs)


def jvp(function, inputs):
    found = []
    for x in inputs:
        with tf.autodiff.ForwardAccumulator(x, tf.ones_like(x)) as accumulator:
            value = function(*inputs)
        found.append(accumulator.jvp(value))
    return found


def hessian_times_ones(function, inputs):
    ones = tf.ones_like(inputs[0])
    with tf.autodiff.ForwardAccumulator(inputs[0], ones) as accumulator:
        with tf.GradientTape() as tape:
            tape.watch(inputs[0])
            value = function(*inputs)
        slope = tape.gradient(value, inputs[0])
    return [accumulator.jvp(slope)]


def hessians(function, inputs):
    return tf.function(lambda *x: tf.hessians(function(*x), x[0]), autograph=False)(*inputs)


def in_function(derivative):
    """The tape is in the function that is traced."""

    def derived(function, inputs):
        return tf.function(lambda *x: derivative(function, list(x)), autograph=False)(*inputs)

    return derived


def of_function(derivative):
    """The function is traced without a tape, which is around it."""

    def derived(function, inputs):
        return derivative(tf.function(function, autograph=False), inputs)

    return derived


DERIVATIVES = {
    "gradient": first,
    "gradient in a function": in_function(first),
    "gradient of a function": of_function(first),
    "gradient penalty": penalty,
    "gradient penalty in a function": in_function(penalty),
    "gradient penalty of a function": of_function(penalty),
    "forward mode": jvp,
    "Hessian times a vector": hessian_times_ones,
    "Hessian": hessians,
}

# All where it is quick; elsewhere ids and soft labels, and each loss somewhere.
FORMS_OF = {
    "gradient": FORMS,
    "gradient in a function": [("softmax", "ids"), ("focal", "soft")],
    "gradient of a function": [("softmax", "ids"), ("focal", "soft")],
    "gradient penalty": FORMS,
    "gradient penalty in a function": [("focal", "ids"), ("sigmoid", "soft")],
    "gradient penalty of a function": [("softmax", "ids"), ("sigmoid", "soft")],
    "forward mode": [("softmax", "ids"), ("focal", "soft")],
    "Hessian times a vector": [("sigmoid", "ids"), ("focal", "soft")],
    "Hessian": [("softmax", "ids"), ("sigmoid", "soft")],
}
CASES = [(kind, form, name) for name in DERIVATIVES for kind, form in FORMS_OF[name]]


@pytest.mark.parametrize(("kind", "form", "name"), CASES)
def test_derivatives_by_logits_weights_and_soft_labels_are_those_of_the_formula(kind, form, name):
    by_op, by_formula, inputs = problem(kind, form)
    found = DERIVATIVES[name](by_op, inputs)
    right = DERIVATIVES[name](by_formula, inputs)
    assert len(found) == len(right)
    for ours, theirs in zip(found, right, strict=True):
        ours, theirs = tf.convert_to_tensor(ours).numpy(), tf.convert_to_tensor(theirs).numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", LOSSES)
def test_a_gradient_penalty_of_low_precision_logits_is_that_of_the_formula(kind, dtype):
    by_op, by_formula, inputs = problem(kind, "ids")
    low = [tf.cast(inputs[0], dtype), inputs[1]]
    (ours, _), (theirs, _) = penalty(by_op, low), penalty(by_formula, low)
    assert ours.dtype == theirs.dtype == tf.as_dtype(dtype)
    ours, theirs = (tf.cast(x, "float32").numpy() for x in (ours, theirs))
    np.testing.assert_allclose(ours, theirs, rtol=0.03, atol=0.01 * np.abs(theirs).max())


@pytest.mark.slow
def test_distillation_by_labels_that_are_learnt_goes_the_right_way():
    # Student and teacher share W: d/dW of sum BCE(xW, sigmoid(xW / 2)), by hand in float64.
    x, w = np.float64(0.7), np.float64(1.3)

    def loss(w):
        p, y = 1 / (1 + np.exp(-x * w)), 1 / (1 + np.exp(-0.5 * x * w))
        return -(y * np.log(p) + (1 - y) * np.log(1 - p))

    right = (loss(w + 1e-6) - loss(w - 1e-6)) / 2e-6
    for run in (lambda f: f, tf.function):

        @run
        def gradient(weight):
            with tf.GradientTape() as tape:
                tape.watch(weight)
                logits = x.astype("float32") * weight
                labels = tf.sigmoid(0.5 * logits)
                value = fused.crossentropy("sigmoid", labels, logits, tf.ones(1))
            return tape.gradient(value, weight)

        found = gradient(tf.constant([[w]], "float32"))
        np.testing.assert_allclose(found.numpy().item(), right, rtol=1e-4)


@pytest.mark.parametrize("kind", LOSSES)
def test_a_bfloat16_gradient_is_rounded_once_whatever_upstream_was_expected(kind):
    rng = np.random.default_rng(3)
    logits = tf.cast(tf.constant(rng.normal(size=(64, 33))), tf.bfloat16)
    labels, weights = tf.constant(rng.integers(0, 33, 64)), tf.ones(33)
    upstream = tf.constant(rng.uniform(0.5, 2, 64), "float32")

    def slope(expected):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            losses = fused.crossentropy(kind, labels, logits, weights, 1.0, expected)
        return tape.gradient(losses, logits, output_gradients=upstream)

    exact = tf.cast(logits, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(exact)
        losses = fused.crossentropy(kind, labels, exact, weights, 1.0)
    right = tape.gradient(losses, exact, output_gradients=upstream).numpy()
    found = tf.cast(slope(0.37), tf.float32).numpy()
    # Half a unit in the last of bfloat16's 8 places, and float32's rounding.
    np.testing.assert_allclose(found, right, rtol=2**-8 + 1e-6, atol=1e-38)
