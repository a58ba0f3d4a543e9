"""What the library uses of tf.data without a public name does what it relies on."""

import keras
import pytest

from cb_keras.private_api import tf_data_is_batched

if keras.backend.backend() != "tensorflow":
    pytest.skip("TensorFlow's own API", allow_module_level=True)


def test_a_data_set_says_whether_it_made_its_batches():
    import tensorflow as tf

    data = tf.data.Dataset.range(8)
    fixed = data.batch(2, drop_remainder=True)
    for made in (
        fixed.map(lambda x: x).cache().shuffle(3).repeat(2).take(3).prefetch(1),
        fixed.with_options(tf.data.Options()).rebatch(4),
        data.batch(2, num_parallel_calls=2),
        data.padded_batch(2),
        data.ragged_batch(2),
        tf.data.Dataset.zip(fixed, fixed),
        fixed.concatenate(fixed),
    ):
        assert tf_data_is_batched(made), type(made).__name__
    for own in (data.shuffle(2), fixed.unbatch(), fixed.window(2), tf.data.Dataset.zip(data, data)):
        assert not tf_data_is_batched(own), type(own).__name__
