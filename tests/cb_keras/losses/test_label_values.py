"""Labels that are none, by value: refused in words where they can be seen, NaN elsewhere."""

import numpy as np
import pytest
from keras import ops

from cb_keras import functional, losses
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, holds, number, refusal
from tests.cb_keras.gradients import BACKEND, compiled

MODES = ["eager", "graph"] if BACKEND == "tensorflow" else ["eager"]
modes = pytest.mark.parametrize("mode", MODES)
Z = LOGITS.astype("float32")
BINARY = {
    "sigmoid": CLASSES["sigmoid"](COUNTS, fused=False),
    "focal": CLASSES["focal"](COUNTS),
    "binary": losses.ClassBalancedBinaryCrossentropy([[9, 1]] * 3),
    "asymmetric": losses.AsymmetricCrossentropy(),
}


def called(loss, labels, mode, *sample_weight):
    """The loss of `LOGITS`; in a graph the labels are its input."""
    if mode == "eager":
        return number(loss(labels, Z, *sample_weight))
    import tensorflow as tf

    return tf.function(lambda y: loss(y, Z, *sample_weight))(tf.constant(labels)).numpy()


@modes
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 255, 2], holds(255, 2) + r".*\[0, 3\).*ignore_class"),
        ([-1, 1, 2, 2], holds(-1, 0) + ".*ignore_class"),
        ([1, 2, 3, 3], holds(3, 2) + r".*Labels start at 1\?.*labels - 1"),
        ([0.0, 1.5, 2, 2], holds(1.5, 1)),
        ([0.0, np.nan, 2, 2], holds("nan", 1)),
    ],
)
@pytest.mark.usefixtures("both_ways")
def test_the_first_label_that_is_not_a_class_is_named_with_its_place_and_the_fix(
    labels, message, mode
):
    loss = CLASSES["focal"](COUNTS)
    for given in (np.array(labels), np.array(labels)[:, None]):
        with pytest.raises(refusal(mode), match=message):
            called(loss, given, mode)
    with pytest.raises(refusal(mode), match=message):
        called(functional.class_balanced_focal_crossentropy, np.array(labels), mode)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.function")
@pytest.mark.parametrize("kind", ["softmax", "binary"])
def test_a_graph_that_xla_compiles_later_makes_nan_of_it(kind):
    """It was traced without XLA, with its assertion, which XLA has to let through."""
    import tensorflow as tf

    labels = np.array([0, 7, 1, 2]) if kind == "softmax" else np.array([[1.0, 0, -1]] * 4)
    loss = CLASSES["softmax"](COUNTS, fused=False) if kind == "softmax" else BINARY["binary"]
    inner = tf.function(lambda y: loss(y, Z))
    with pytest.raises(tf.errors.InvalidArgumentError, match="y_true"):
        inner(tf.constant(labels))
    assert np.isnan(tf.function(lambda y: inner(y), jit_compile=True)(tf.constant(labels)))


@modes
def test_a_pixel_is_named_by_all_its_indices(mode):
    labels = np.zeros((1, 2, 2), "uint8")
    labels[0, 1, 0] = 255
    loss = CLASSES["softmax"](COUNTS)
    with pytest.raises(refusal(mode), match=holds(255, 0, 1, 0)):
        called(lambda y, z: loss(y, ops.reshape(z[:, None], (1, 2, 2, 3))), labels, mode)


@modes
def test_a_label_that_does_not_count_is_never_an_error(mode):
    labels, weight = np.array([0, 255, 2, 2]), np.array([1.0, 0, 1, 1])
    loss = CLASSES["softmax"](COUNTS, reduction="sum")
    right = number(loss(IDS[[0, 2, 3]], Z[[0, 2, 3]]))
    np.testing.assert_allclose(called(loss, labels, mode, weight), right, rtol=1e-6)
    void = CLASSES["softmax"](COUNTS, reduction="sum", ignore_class=255)
    np.testing.assert_allclose(called(void, labels, mode), right, rtol=1e-6)
    with pytest.raises(refusal(mode), match=holds(254, 1)):
        called(void, labels - (labels == 255), mode)


@pytest.mark.parametrize("kind", ["sigmoid", "binary"])
@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch compiles with a C++ compiler")
def test_in_compiled_code_such_an_example_is_nan_and_the_others_are_as_usual(kind):
    bad = [0, 7, 2, 2] if kind == "sigmoid" else np.array([[0, 1.0, 0]] * 4) * [[1], [-1], [1], [1]]
    loss = BINARY[kind]
    given = ops.convert_to_tensor(bad), ops.convert_to_tensor(Z)
    value = compiled(loss.call)(*given)
    assert np.isnan(number(value)).tolist() == [False, True, False, False]


@modes
@pytest.mark.parametrize("kind", BINARY)
def test_multi_hot_labels_outside_of_0_to_1_are_refused_with_the_fix(kind, mode):
    labels = np.array([[1.0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 1, 1]])
    assert np.isfinite(called(BINARY[kind], labels, mode))
    changed = labels.copy()
    changed[1, 2] = -1
    for bad, message in (
        (2 * labels - 1, holds(-1, 0, 1) + r".*-1/1\? Then give \(labels \+ 1\) / 2"),
        (labels + 1, holds(2, 0, 0) + r".*1/2\? Then give labels - 1"),
        (changed, holds(-1, 1, 2) + ".*not known.*`sample_weight` of 0"),
        (np.where(changed < 0, np.nan, labels), holds("-?nan", 1, 2)),
    ):
        with pytest.raises(refusal(mode), match=message):
            called(BINARY[kind], bad, mode)
    called(BINARY[kind], changed, mode, np.array([1.0, 0, 1, 1]))


def test_a_logit_that_is_nan_is_not_blamed_on_the_labels():
    z = np.where(np.arange(4)[:, None] == 1, np.nan, Z).astype("float32")
    labels = np.array([[1.0, 0, 1]] * 4)
    assert np.isnan(number(BINARY["binary"](labels, z)))


@pytest.mark.parametrize("kind", ["binary", "asymmetric"])
@pytest.mark.usefixtures("unseen")
def test_where_no_value_can_be_seen_its_example_alone_is_nan(kind):
    function = {
        "binary": functional.class_balanced_binary_crossentropy,
        "asymmetric": functional.asymmetric_crossentropy,
    }[kind]
    value = number(function(np.array([[1.0, 0, 1], [1, -1, 0], [np.nan, 0, 0], [1, 1, 1]]), Z))
    assert np.isnan(value).tolist() == [False, True, True, False]


@pytest.mark.skipif(BACKEND != "jax", reason="jax.grad")
def test_jax_sees_labels_also_where_it_traces_the_logits_alone():
    import jax

    with pytest.raises(ValueError, match="holds 7"):
        jax.grad(lambda z: CLASSES["softmax"](COUNTS)(np.array([0, 7, 1, 2]), z))(Z)
    with pytest.raises(ValueError, match="holds -1"):
        jax.grad(lambda z: BINARY["binary"](np.array([[1, 0, -1]] * 4), z))(Z)
