"""What docs/guide/class_weight.md says of `class_weight` in Keras' fit, shown with this Keras.

A test that fails here after an upgrade of Keras says which sentence of that page to change.
"""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import cb_keras

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the page's figures are from TensorFlow"
)

DIGITS = load_digits()
COUNTS = cb_keras.long_tailed_counts(num_classes=10, max_count=120, imbalance_factor=0.05)
CHOSEN = cb_keras.choose_long_tail(DIGITS.target, COUNTS, seed=0)
IMAGES = (DIGITS.images[CHOSEN, ..., None] / 16).astype("float32")
LABELS = DIGITS.target[CHOSEN]
WEIGHTS = cb_keras.class_balanced_weights(COUNTS)


def dense(outputs, loss, learning_rate=0.0, **compiled):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(outputs)]
    )
    model.compile(keras.optimizers.SGD(learning_rate), loss, **compiled)
    return model


def per_pixel(loss):
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(3, 1)])
    model.compile(keras.optimizers.SGD(0.0), loss)
    return model


def plain():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def binary():
    return keras.losses.BinaryCrossentropy(from_logits=True)


def test_class_weight_trains_as_the_loss_with_the_same_weights():
    by_keras = dense(10, plain(), learning_rate=0.1)
    ours = dense(10, cb_keras.losses.ClassBalancedSoftmaxCrossentropy(COUNTS), learning_rate=0.1)
    settings = {"batch_size": 32, "epochs": 2, "shuffle": False, "verbose": 0}

    first = by_keras.fit(IMAGES, LABELS, class_weight=dict(enumerate(WEIGHTS.tolist())), **settings)
    second = ours.fit(IMAGES, LABELS, **settings)

    np.testing.assert_allclose(first.history["loss"], second.history["loss"], rtol=1e-6)
    for one, other in zip(by_keras.get_weights(), ours.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_the_reduction_by_sample_weight_divides_class_weight_by_the_weights_of_the_batch():
    """Keras' `mean_with_sample_weight`; ours divides by the examples whatever its weights are."""
    batch = {"batch_size": len(LABELS), "verbose": 0}
    mean = "mean_with_sample_weight"
    by_keras = dense(10, keras.losses.SparseCategoricalCrossentropy(True, reduction=mean))
    ours = dense(10, cb_keras.losses.ClassBalancedSoftmaxCrossentropy(COUNTS, reduction=mean))

    first = by_keras.fit(IMAGES, LABELS, class_weight=dict(enumerate(WEIGHTS.tolist())), **batch)
    second = ours.fit(IMAGES, LABELS, **batch)

    ratio = second.history["loss"][0] / first.history["loss"][0]
    assert ratio == pytest.approx(WEIGHTS[LABELS].mean(), rel=1e-5)


def test_class_weight_weights_the_training_loss_and_neither_validation_nor_metrics():
    batch = {"batch_size": len(LABELS), "validation_data": (IMAGES, LABELS), "verbose": 0}
    by_keras = dense(10, plain(), metrics=["accuracy"])
    ours = dense(10, cb_keras.losses.ClassBalancedSoftmaxCrossentropy(COUNTS))

    first = by_keras.fit(
        IMAGES, LABELS, class_weight=dict(enumerate(WEIGHTS.tolist())), **batch
    ).history
    second = ours.fit(IMAGES, LABELS, **batch).history

    unweighted = dense(10, plain()).evaluate(IMAGES, LABELS, batch_size=len(LABELS), verbose=0)
    assert first["val_loss"][0] == pytest.approx(unweighted, rel=1e-6)
    assert first["val_loss"][0] != pytest.approx(first["loss"][0], rel=0.1)
    assert first["accuracy"] == first["val_accuracy"]
    assert second["val_loss"][0] == pytest.approx(second["loss"][0], rel=1e-6)


def test_a_class_that_class_weight_leaves_out_has_weight_1_in_silence():
    batch = {"batch_size": len(LABELS), "verbose": 0}

    some = dense(10, plain()).fit(IMAGES, LABELS, class_weight={0: 3.0}, **batch)
    every = dict.fromkeys(range(10), 1.0) | {0: 3.0}
    all_named = dense(10, plain()).fit(IMAGES, LABELS, class_weight=every, **batch)

    assert some.history["loss"] == all_named.history["loss"]


def test_class_weight_fails_on_one_label_per_pixel_of_arrays():
    masks = np.arange(16 * 64).reshape(16, 8, 8) % 3

    # NumPy 1 says it in other words.
    with pytest.raises(TypeError, match=r"only (0-dimensional|length-1) arrays can be converted"):
        per_pixel(plain()).fit(IMAGES[:16], masks, class_weight={0: 1, 1: 2, 2: 3}, verbose=0)


def test_class_weight_reads_one_label_per_pixel_of_tf_data_as_one_hot_over_the_width():
    import tensorflow as tf

    masks = np.random.default_rng(0).integers(0, 3, (16, 8, 8))
    data = tf.data.Dataset.from_tensor_slices((IMAGES[:16], masks))
    model = per_pixel(plain())
    weights = {column: column + 1.0 for column in range(8)}  # it asks for one weight a column

    # One weight a row of pixels: [N, H] against losses [N, H, W].
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"shapes: \[16,8(,8)?\] vs"):
        model.fit(data.batch(16), class_weight=weights, verbose=0)
    # Where N happens to equal H it is taken for [H, W] and trains, with the wrong weights.
    model.fit(data.batch(8), class_weight=weights, verbose=0)


def test_class_weight_takes_multi_hot_labels_for_the_first_class_of_each():
    labels = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 1]], "float32")
    batch = {"batch_size": 4, "verbose": 0}

    def weighted(weights):
        model = dense(3, binary())
        return model.fit(IMAGES[:4], labels, class_weight=weights, **batch).history["loss"][0]

    # 3 of 4 examples are of class 2; the weight of class 2 reaches the last one alone.
    each = [binary()(labels[i : i + 1], dense(3, binary())(IMAGES[i : i + 1])) for i in range(4)]
    last = float(each[3])
    assert weighted({0: 1, 1: 1, 2: 101}) - weighted({0: 1, 1: 1, 2: 1}) == pytest.approx(
        100 * last / 4, rel=1e-4
    )


def test_class_weight_refuses_a_model_with_two_outputs_and_sample_weights_beside_it():
    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(inputs)
    outputs = {"digit": keras.layers.Dense(10)(flat), "odd": keras.layers.Dense(2)(flat)}
    model = keras.Model(inputs, outputs)
    model.compile("sgd", {"digit": plain(), "odd": plain()})
    labels = {"digit": LABELS, "odd": LABELS % 2}

    with pytest.raises(ValueError, match="single output"):
        model.fit(IMAGES, labels, class_weight={0: 1.0}, verbose=0)
    with pytest.raises(ValueError, match="at the same time"):
        dense(10, plain()).fit(
            IMAGES, LABELS, sample_weight=np.ones(len(LABELS)), class_weight={0: 1.0}, verbose=0
        )
