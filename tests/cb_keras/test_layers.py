"""The layers on their own, against Keras."""

import keras
import numpy as np
import pytest

import cb_keras
from cb_keras.layers import ApplicationPreprocessing
from tests.cb_keras.gradients import BACKEND, float64_enabled, value_and_gradient

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype("float32")


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_preprocessing_is_that_of_keras_applications_also_after_a_round_trip(mode):
    expected = keras.applications.imagenet_utils.preprocess_input(PIXELS.copy(), mode=mode)
    layer = ApplicationPreprocessing(mode)
    again = ApplicationPreprocessing.from_config(layer.get_config())
    for found in (layer(PIXELS), again(PIXELS)):
        found = keras.ops.convert_to_numpy(found)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_preprocessing_of_another_kind_or_of_one_channel_is_refused():
    with pytest.raises(ValueError, match="`mode` must be"):
        ApplicationPreprocessing("tensorflow")
    with pytest.raises(ValueError, match="three channels"):
        ApplicationPreprocessing("tf")(PIXELS[..., :1])


def test_the_normalized_head_gives_cosines_and_a_vector_of_zeros_none():
    x = np.random.default_rng(0).normal(size=(5, 7)) * [[1e-3], [1], [1e3], [0], [1e30]]
    layer = cb_keras.layers.NormalizedDense(4)
    z = keras.ops.convert_to_numpy(layer(x.astype("float32")))
    w = keras.ops.convert_to_numpy(layer.kernel).astype("float64")
    lengths = np.maximum(np.linalg.norm(x / x.max(), axis=1, keepdims=True), 1e-300)
    right = (x / x.max()) @ w / lengths / np.linalg.norm(w, axis=0)
    np.testing.assert_allclose(z[:3], right[:3], rtol=1e-4, atol=1e-6)
    assert (z[3] == 0).all()
    again = cb_keras.layers.NormalizedDense.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()


def test_a_vector_of_zeros_has_no_gradient_and_the_others_theirs():
    x = np.random.default_rng(0).normal(size=(3, 7))
    x[1] = 0
    layer = cb_keras.layers.NormalizedDense(4)
    layer.build((None, 7))
    value, slope = value_and_gradient(lambda z: layer(z)[:, 0], x, "float32")
    w = keras.ops.convert_to_numpy(layer.kernel)[:, 0].astype("float64")
    unit, length = x[[0, 2]], np.linalg.norm(x[[0, 2]], axis=1, keepdims=True)
    unit, w = unit / length, w / np.linalg.norm(w)
    right = (w - unit * (unit @ w)[:, None]) / length
    np.testing.assert_allclose(slope[[0, 2]], right, rtol=1e-4, atol=1e-6)
    assert value[1] == 0
    assert not slope[1].any()


def test_heads_of_a_float64_model_compute_in_float64():
    x = np.random.default_rng(1).normal(size=(5, 7))
    with float64_enabled():
        head = cb_keras.layers.NormalizedDense(3, dtype="float64")
        adjustment = cb_keras.layers.LogitAdjustment([90, 9, 1], 1.5, 3.0, dtype="float64")
        model = keras.Sequential([keras.Input((7,), dtype="float64"), head, adjustment])
        w = keras.ops.convert_to_numpy(head.kernel)
        z = x @ w / np.linalg.norm(x, axis=1, keepdims=True) / np.linalg.norm(w, axis=0)
        right = (z - 1.5 * np.log(np.array([0.9, 0.09, 0.01]))) / 3
        found = keras.ops.convert_to_numpy(model(keras.ops.convert_to_tensor(x, "float64")))
    assert model.outputs[0].dtype == "float64"
    assert found.dtype == "float64"
    # On PyTorch Keras' own matmul rounds float64 to float32.
    np.testing.assert_allclose(found, right, rtol=1e-12, atol=1e-6 if BACKEND == "torch" else 0)


def test_an_adjustment_of_probabilities_is_told_and_of_logits_is_not(recwarn):
    layer = cb_keras.layers.LogitAdjustment([90, 9, 1])
    layer(keras.ops.convert_to_tensor([[0.5, 2.0, -1.0]]))
    assert not [w for w in recwarn if "LogitAdjustment" in str(w.message)]
    head = keras.layers.Dense(3, activation="softmax")
    for outputs in (head, lambda x: keras.ops.softmax(x).__array__()):
        probabilities = outputs(keras.ops.ones((2, 3)))
        with pytest.warns(UserWarning, match="LogitAdjustment takes logits, but it is"):
            cb_keras.layers.LogitAdjustment([90, 9, 1])(probabilities)


def test_a_model_with_the_adjustment_in_it_is_saved_and_takes_another_number_of_classes_badly(
    tmp_path,
):
    model = keras.Sequential(
        [keras.Input((3,)), cb_keras.layers.LogitAdjustment([90, 9, 1], 1.5, 2.0)]
    )
    x = np.arange(6, dtype="float32").reshape(2, 3)
    right = (x - 1.5 * np.log(np.array([0.9, 0.09, 0.01]))) / 2
    model.save(tmp_path / "model.keras")
    for m in (model, keras.models.load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(m.predict(x, verbose=0), right, rtol=1e-5)
    shift = cb_keras.layers.LogitAdjustment([90, 9, 1], to_prior=[1, 1, 2])
    again = cb_keras.layers.LogitAdjustment.from_config(shift.get_config())
    moved = cb_keras.posthoc.shift_prior(x, [90, 9, 1], [1, 1, 2])
    for layer in (shift, again):
        found, expected = (keras.ops.convert_to_numpy(z) for z in (layer(x), moved))
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="`class_counts` has 3 classes, `to_prior` has 2"):
        cb_keras.layers.LogitAdjustment([90, 9, 1], to_prior=[1, 2])
    with pytest.raises(ValueError, match="`class_counts` has 3 classes, the logits have 2"):
        cb_keras.layers.LogitAdjustment([90, 9, 1])(np.zeros((1, 2), "float32"))
