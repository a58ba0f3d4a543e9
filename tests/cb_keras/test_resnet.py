"""The ResNet against hand counts, numpy and PyTorch; its BatchNormalization against Keras' own."""

import collections
import json
import math
import re

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import convert_to_numpy

import cb_keras
from cb_keras.layers import BatchNormalization
from tests.cb_keras.gradients import BACKEND, float64_enabled, value_and_gradient

# What does not depend on the backend; JAX takes long to make so many layers.
slow_on_jax = pytest.mark.slow if BACKEND == "jax" else pytest.mark.usefixtures()
IMAGES = np.random.default_rng(5).integers(0, 256, (2, 16, 16, 3)).astype("uint8")


def network(depth=8, input_shape=(16, 16, 3), num_classes=10, **kwargs):
    """A network whose every weight is random, the moving statistics too."""
    return randomised(cb_keras.resnet_cifar(depth, input_shape, num_classes, **kwargs))


def randomised(layer):
    rng = np.random.default_rng(6)
    for v in layer.weights:
        if len(v.shape) == 1:
            positive = v.name in ("gamma", "moving_variance")
            v.assign(rng.uniform(0.5, 1.5, v.shape) if positive else rng.normal(size=v.shape))
    return layer


def logits(model, images, **kwargs):
    return convert_to_numpy(ops.cast(outputs(model, images, **kwargs), "float32"))


def outputs(model, images, **kwargs):
    """What the model gives; on JAX compiled as a whole, or each operation would be by itself."""
    if BACKEND != "jax":
        return model(images, **kwargs)
    import jax

    values = [
        [v.value for v in vs] for vs in (model.trainable_variables, model.non_trainable_variables)
    ]
    return jax.jit(lambda *state: model.stateless_call(*state, images, **kwargs)[0])(*values)


def count(variables):
    return sum(math.prod(v.shape) for v in variables)


@slow_on_jax
def test_depth_32_has_the_parameters_of_the_protocol():
    model = cb_keras.resnet_cifar()
    dense = model.get_layer("logits").trainable_variables
    assert count(model.trainable_variables) == 464_154
    assert count(model.trainable_variables) - count(dense) == 463_504
    assert count(model.non_trainable_variables) == 2_272


@slow_on_jax
def test_every_batch_normalization_has_the_momentum_and_epsilon_of_the_protocol():
    norms = [n for n in cb_keras.resnet_cifar(depth=8).layers if isinstance(n, BatchNormalization)]
    assert len(norms) == 7  # of the stem and of two convolutions in each of three blocks
    assert {(n.momentum, n.epsilon) for n in norms} == {(0.9, 1e-5)}


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        *[("depth", d, f"must be 6n + 2 (8, 14, 20, 26, 32, ...), got {d}.") for d in (2, 9, 8.5)],
        ("input_shape", (32, 32), "must be (height, width, channels), got (32, 32)."),
        ("input_shape", (8, 8, None), "must be (height, width, channels), got (8, 8, None)."),
        *[("num_classes", n, f"must be a whole number >= 1, got {n}.") for n in (0, 2.5)],
        ("head", "focal", 'must be "softmax" or "sigmoid" or "cosine", got \'focal\'.'),
        *[
            ("weight_decay", d, f"must be a finite number >= 0, got {d}.")
            for d in (-1, math.inf, math.nan)
        ],
    ],
)
def test_an_argument_out_of_range_is_refused_with_its_value(argument, value, message):
    with pytest.raises(ValueError, match=re.escape(f"`{argument}` {message}")):
        cb_keras.resnet_cifar(**{argument: value})


@pytest.mark.parametrize("size", [(16, 16, 3), (9, 13, 1), (1, 2, 5)])
def test_a_model_of_open_size_gives_the_logits_of_one_of_fixed_size(size, rng):
    fixed, free = network(input_shape=size), network(input_shape=(None, None, size[-1]))
    free.set_weights(fixed.get_weights())
    images = rng.integers(0, 256, (3, *size))
    assert logits(fixed, images).shape == (3, 10)
    np.testing.assert_allclose(logits(free, images), logits(fixed, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("head", "num_classes", "bias"),
    [("softmax", 10, 0), ("sigmoid", 10, -math.log(9)), ("sigmoid", 2, 0), ("sigmoid", 1, 0)],
)
@slow_on_jax
def test_the_last_bias_starts_where_the_head_has_it(head, num_classes, bias):
    model = cb_keras.resnet_cifar(8, num_classes=num_classes, head=head)
    expected = np.full(num_classes, bias, "float32")
    np.testing.assert_array_equal(model.get_layer("logits").get_weights()[1], expected)


@pytest.mark.parametrize(
    ("head", "end", "decay"), [("softmax", None, 2e-4), ("sigmoid", -1, 2e-4), ("softmax", None, 0)]
)
@slow_on_jax
def test_the_penalty_is_half_the_decay_times_all_squares_but_for_the_sigmoid_bias(head, end, decay):
    model = network(head=head, weight_decay=decay)
    variables = [convert_to_numpy(v) for v in model.trainable_variables[:end]]
    penalty = sum(float(convert_to_numpy(loss)) for loss in model.losses)
    expected = decay / 2 * sum(np.square(v, dtype="float64").sum() for v in variables)
    np.testing.assert_allclose(penalty, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("policy", "given"), [("mixed_bfloat16", False), ("mixed_float16", True), ("float64", True)]
)
def test_logits_are_close_and_have_32_bits_at_least_under_every_policy(policy, given):
    single, dtype = network(), "float64" if policy == "float64" else "float32"
    expected = logits(single, IMAGES)
    keras.config.set_dtype_policy("float32" if given else policy)
    with float64_enabled(policy):
        model = network(dtype=policy if given else None)
        model.set_weights(single.get_weights())
        found = outputs(model, IMAGES)
        assert keras.backend.standardize_dtype(found.dtype) == dtype
        assert model.get_layer("stem_conv").compute_dtype == policy.removeprefix("mixed_")
        difference = abs(convert_to_numpy(found) - expected).max()
    assert 0 < difference < 0.05 * abs(expected).max()


@pytest.mark.parametrize("input_shape", [(16, 16, 3), (None, None, 3)])
@slow_on_jax
def test_a_keras_file_gives_the_same_logits(input_shape, tmp_path):
    model = network(input_shape=input_shape, head="sigmoid")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(logits(again, IMAGES), logits(model, IMAGES), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_preprocessing_maps_raw_pixels_to_x_over_128_minus_1(dtype):
    raw, plain = network(), network(include_preprocessing=False)
    plain.set_weights(raw.get_weights())
    expected = logits(plain, (IMAGES / 128 - 1).astype("float32"))
    np.testing.assert_allclose(logits(raw, IMAGES.astype(dtype)), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("stage", "extra"), [(2, 8), (3, 16)])
def test_a_shortcut_averages_2x2_pixels_and_pads_zero_channels_on_both_sides(stage, extra):
    model = network()
    before = model.get_layer(f"stage{stage - 1}_block1_relu").output
    shortcut = model.get_layer(f"stage{stage}_block1_add").input[1]
    x, y = map(convert_to_numpy, outputs(keras.Model(model.input, [before, shortcut]), IMAGES))
    n, h, w, c = x.shape
    means = x.reshape(n, h // 2, 2, w // 2, 2, c).mean((2, 4))
    expected = np.pad(means, ((0, 0), (0, 0), (0, 0), (extra, extra)))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("size", "training"), [((16, 16), False), ((10, 12), True)])
def test_depth_8_gives_the_logits_of_the_same_network_in_pytorch(size, training):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    model = network(input_shape=(*size, 3))
    images = np.random.default_rng(8).integers(0, 256, (4, *size, 3)).astype("float32")

    def weights(name):
        return [torch.tensor(w) for w in model.get_layer(name).get_weights()]

    def conv_bn(x, name, stride=1):
        (kernel,) = weights(f"{name}_conv")
        gamma, beta, mean, variance = weights(f"{name}_bn")
        x = F.conv2d(x, kernel.permute(3, 2, 0, 1), stride=stride, padding=1)
        return F.batch_norm(x, mean, variance, gamma, beta, training, eps=1e-5)

    def block(x, stage):
        shortcut, name = x, f"stage{stage}_block1"
        if stage > 1:
            half = x.shape[1] // 2
            # At an odd border the mean is over the pixels that are there.
            shortcut = F.pad(F.avg_pool2d(x, 2, ceil_mode=True), (0, 0, 0, 0, half, half))
        y = F.relu(conv_bn(x, f"{name}_1", min(stage, 2)))
        return F.relu(conv_bn(y, f"{name}_2") + shortcut)

    with torch.no_grad(), torch.device("cpu"):
        x = torch.tensor(images).permute(0, 3, 1, 2) / 128 - 1
        x = F.relu(conv_bn(x, "stem"))
        for stage in (1, 2, 3):
            x = block(x, stage)
        kernel, bias = weights("logits")
        expected = (x.mean((2, 3)) @ kernel + bias).numpy()
    np.testing.assert_allclose(logits(model, images, training=training), expected, 1e-3, 1e-4)


FEATURES = np.random.default_rng(7).normal(2, 3, (4, 5, 6, 3)).astype("float32")
MASK = np.random.default_rng(10).integers(0, 2, (4, 5, 6)).astype(bool)
DIRECTION = np.random.default_rng(9).normal(size=FEATURES.shape).astype("float32")


@pytest.mark.parametrize(
    ("arguments", "mode"),
    [
        *(({}, mode) for mode in ("inference", "training", "frozen", "masked")),
        *(({"epsilon": 0.5, "scale": False}, mode) for mode in ("inference", "training")),
        *(({"momentum": 0.5, "center": False}, mode) for mode in ("training", "frozen")),
        *(({"axis": 1}, mode) for mode in ("inference", "training")),
        *(({"dtype": "mixed_bfloat16"}, mode) for mode in ("inference", "training")),
        *(({"dtype": "mixed_float16"}, mode) for mode in ("training", "masked")),
    ],
    ids=str,
)
@pytest.mark.skipif(BACKEND != "tensorflow", reason="elsewhere the layer is Keras' own")
def test_batch_normalization_has_outputs_gradients_and_statistics_of_keras(arguments, mode):
    ours, keras_own = (
        batch_norm_results(cls(**arguments), mode)
        for cls in (BatchNormalization, layers.BatchNormalization)
    )
    # Of the largest element; the low types round outputs and gradients to 8 and 11 bits.
    bits = {"mixed_bfloat16": 7, "mixed_float16": 10}.get(arguments.get("dtype"), 17)
    for name, expected in keras_own.items():
        assert abs(ours[name] - expected).max() <= 2.0**-bits * abs(expected).max(), name


def batch_norm_results(layer, mode):
    layer.build(FEATURES.shape)
    randomised(layer).trainable = mode != "frozen"
    call = {"training": mode != "inference", "mask": MASK if mode == "masked" else None}
    inputs = keras.Variable(FEATURES, name="input")

    def gradient(variable):
        def function(x):
            with keras.StatelessScope([(variable, x)]):
                outputs = layer(inputs.value, **call)
            return ops.multiply(ops.cast(outputs, "float32"), DIRECTION)

        return value_and_gradient(function, convert_to_numpy(variable))[1]

    *scale_and_center, _, _ = layer.weights
    results = {f"d {v.name}": gradient(v) for v in (inputs, *scale_and_center)}
    outputs = layer(FEATURES, **call)
    assert keras.backend.standardize_dtype(outputs.dtype) == layer.compute_dtype
    results["outputs"] = convert_to_numpy(ops.cast(outputs, "float32"))
    return results | {v.name: convert_to_numpy(v) for v in layer.weights}


def graph_operations(layer):
    """Numbers of the operations in the TensorFlow graph of a step forward and back."""
    import tensorflow as tf

    def step(x):
        return tf.gradients(layer(x, training=True), x)

    graph = tf.function(step).get_concrete_function(tf.TensorSpec((None, 16, 16, 3))).graph
    return collections.Counter(operation.type for operation in graph.get_operations())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="the fused kernel is TensorFlow's")
def test_every_batch_normalization_is_one_fused_operation_forward_and_one_back():
    found = graph_operations(network())
    assert found["FusedBatchNormV3"] == found["FusedBatchNormGradV3"] == 7
    # What Keras composes its moments of, so that their absence above means something.
    composed = graph_operations(layers.BatchNormalization())
    assert composed["SquaredDifference"] == 1
    assert composed["FusedBatchNormV3"] == found["SquaredDifference"] == 0


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@slow_on_jax
def test_a_model_saved_as_hdf5_gives_the_same_logits_when_it_is_loaded(tmp_path):
    model = network()
    model.save(tmp_path / "model.h5")
    loaded = keras.saving.load_model(tmp_path / "model.h5")
    np.testing.assert_array_equal(logits(loaded, IMAGES), logits(model, IMAGES))


def test_the_layers_are_found_where_files_and_imports_look_for_them():
    assert cb_keras.resnet.BatchNormalization is BatchNormalization
    assert cb_keras.resnet.ChannelPadding is cb_keras.layers.ChannelPadding
    for layer in (BatchNormalization, cb_keras.layers.ChannelPadding):
        assert keras.saving.get_registered_name(layer) == f"cb_keras>{layer.__name__}"


def test_the_configuration_of_a_padding_can_be_written():
    padding = cb_keras.layers.ChannelPadding(np.int64(3))
    assert json.loads(json.dumps(padding.get_config()["channels"])) == 3
    with pytest.raises(ValueError, match=r"`channels` must be a whole number >= 0, got -1"):
        cb_keras.layers.ChannelPadding(-1)
