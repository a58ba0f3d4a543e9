"""The layers on their own, against Keras."""

import keras
import numpy as np
import pytest

from cb_keras.layers import ApplicationPreprocessing

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
