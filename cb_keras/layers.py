"""Layers of networks for images, and heads for long tails."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from cb_keras.checks import check_positive, check_tau, check_whole_number, warn_of_activation
from cb_keras.counts import ByClass
from cb_keras.functional.logit_side import counts_of_all, log_prior, log_shares
from cb_keras.functional.preparation import at_least_float32


@keras.saving.register_keras_serializable(package="cb_keras")
class BatchNormalization(layers.BatchNormalization):
    """`keras.layers.BatchNormalization`, as one fused kernel on TensorFlow.

    Same arguments, weights and values. On the TensorFlow backend Keras composes batch
    normalisation from elementwise operations; here a `[N, H, W, C]` input goes through
    `FusedBatchNormV3`, forward and backward. Other ranks, masks, a data format other than
    channels-last, `renorm`, `synchronized` and other backends take Keras' own path.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalises `inputs`; see `keras.layers.BatchNormalization`."""
        if not self._can_fuse(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        use_batch = bool(training) and self.trainable
        channels = inputs.shape[-1]
        scale = self.gamma if self.scale else ops.ones((channels,))
        offset = self.beta if self.center else ops.zeros((channels,))
        outputs, mean, variance = _fused_batch_norm(
            ops.cast(inputs, self.compute_dtype),
            *(ops.cast(x, "float32") for x in (scale, offset)),
            *(ops.cast(x, "float32") for x in (self.moving_mean, self.moving_variance)),
            epsilon=self.epsilon,
            use_batch=use_batch,
        )
        if use_batch:
            # The kernel returns the unbiased variance, Keras' layer keeps the biased one.
            size = ops.cast(ops.size(inputs), "float32") / channels
            variance = variance * (size - 1.0) / ops.maximum(size, 1.0)
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs

    def _can_fuse(self, inputs: Any, mask: Any) -> bool:
        return (
            keras.backend.backend() == "tensorflow"
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and inputs.shape[-1] is not None
            and mask is None
            and not (getattr(self, "renorm", False) or self.synchronized)  # none in Keras 3.10
            and self.variable_dtype == "float32"
            and self.compute_dtype in ("float32", "float16", "bfloat16")
        )


def _fused_batch_norm(
    x: Any, scale: Any, offset: Any, mean: Any, variance: Any, *, epsilon: float, use_batch: bool
) -> tuple[Any, Any, Any]:
    import tensorflow as tf

    empty = tf.zeros([0], "float32")
    result = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset,
        mean=empty if use_batch else mean,
        variance=empty if use_batch else variance,
        epsilon=epsilon,
        is_training=use_batch,
    )
    return result.y, result.batch_mean, result.batch_variance


@keras.saving.register_keras_serializable(package="cb_keras")
class ChannelPadding(layers.Layer):
    """Zeros before and after the channels, `[N, H, W, c]` to `[N, H, W, c + channels]`.

    A layer, since a model with `keras.ops.pad` in it can be saved as .h5, but not loaded again.

    Args:
        channels: How many are added, an int >= 0; of an odd number the larger half comes after.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: `channels` is no whole number >= 0.
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = check_whole_number("channels", channels, 0)

    def call(self, inputs: Any) -> Any:
        """The padded images."""
        before = self.channels // 2
        return ops.pad(inputs, ((0, 0), (0, 0), (0, 0), (before, self.channels - before)))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`[N, H, W, c + channels]`."""
        return (*input_shape[:-1], input_shape[-1] + self.channels)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer."""
        return {**super().get_config(), "channels": self.channels}


@keras.saving.register_keras_serializable(package="cb_keras")
class ApplicationPreprocessing(layers.Layer):
    """Pixels as a network of `keras.applications` takes them, `[..., 3]` to `[..., 3]`.

    What the `preprocess_input` of its module does, as a layer, so that a saved or exported model
    takes pixels in [0, 255]: `"tf"` is `x / 127.5 - 1`; `"torch"` is `(x / 255 - mean) / std` of
    ImageNet's channels; `"caffe"` has the channels as blue, green, red, less their means. Networks
    that begin with such layers themselves (EfficientNet, MobileNetV3, ConvNeXt) need none.

    Args:
        mode: `"caffe"`, `"tf"` or `"torch"`.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: `mode` is another; or the images do not have three channels.

    Examples:
        >>> import keras
        >>> import cb_keras
        >>> layer = cb_keras.layers.ApplicationPreprocessing("tf")
        >>> pixels = keras.ops.convert_to_tensor([[[[0.0, 127.5, 255.0]]]])
        >>> [round(float(x), 2) for x in layer(pixels)[0, 0, 0]]
        [-1.0, 0.0, 1.0]

    Source: `keras.applications.imagenet_utils.preprocess_input`.
    """

    def __init__(self, mode: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if mode not in ("caffe", "tf", "torch"):
            raise ValueError(f'`mode` must be "caffe", "tf" or "torch", got {mode!r}.')
        self.mode = mode

    def build(self, input_shape: Any) -> None:
        """Checks the channels."""
        if input_shape[-1] != 3:
            raise ValueError(
                f"the images must have three channels, got the shape {tuple(input_shape)}; repeat "
                "a single one to three first."
            )
        self.built = True

    def call(self, images: Any) -> Any:
        """The images, as the network takes them."""
        if self.mode == "tf":
            return images / 127.5 - 1.0
        if self.mode == "torch":
            mean = ops.convert_to_tensor([0.485, 0.456, 0.406], images.dtype)
            std = ops.convert_to_tensor([0.229, 0.224, 0.225], images.dtype)
            return (images / 255.0 - mean) / std
        mean = ops.convert_to_tensor([103.939, 116.779, 123.68], images.dtype)
        return ops.flip(images, axis=-1) - mean

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """That of the images."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer."""
        return {**super().get_config(), "mode": self.mode}


@keras.saving.register_keras_serializable(package="cb_keras")
class NormalizedDense(layers.Layer):
    """Cosines between the features and each class's weights, `[..., D]` to `[..., units]`.

    `z_c = x . w_c / (|x| |w_c|)`, in [-1, 1], without a bias: the head that
    `cb_keras.losses.LDAMCrossentropy` takes, whose `scale` stands in for the length of the logits.

    Args:
        units: Number of classes C.
        kernel_initializer: Of the weights; only their directions matter.
        kernel_regularizer: Of the weights, whose length says how fast their directions turn.
        epsilon: Least norm that is divided by, > 0. A vector of zeros has cosines 0, no gradient.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: `units` or `epsilon` is out of range.

    Examples:
        >>> import keras
        >>> import cb_keras
        >>> layer = cb_keras.layers.NormalizedDense(2, kernel_initializer="identity")
        >>> [round(float(z), 2) for z in layer(keras.ops.convert_to_tensor([[3.0, 4.0]]))[0]]
        [0.6, 0.8]

    Source: Cao et al., NeurIPS 2019, official code (`NormedLinear`).
    """

    def __init__(
        self,
        units: int,
        kernel_initializer: Any = "glorot_uniform",
        kernel_regularizer: Any = None,
        epsilon: float = 1e-12,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = check_whole_number("units", units, 1)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.epsilon = check_positive("epsilon", epsilon)

    def build(self, input_shape: Any) -> None:
        """Makes the weights `[D, units]`."""
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The cosines."""
        kernel = ops.cast(self.kernel, self.compute_dtype)
        return ops.matmul(self._unit(inputs, -1), self._unit(kernel, 0))

    def _unit(self, x: Any, axis: int) -> Any:
        """Vectors along the axis, of length 1; the norms are float32 at least."""
        x = ops.cast(x, at_least_float32(x))
        squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
        none = ops.equal(squares, 0)
        norm = ops.sqrt(ops.maximum(ops.where(none, 1.0, squares), self.epsilon**2))
        return ops.cast(ops.where(none, ops.zeros_like(x), x / norm), self.compute_dtype)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`[..., units]`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer."""
        own = {
            "units": self.units,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "epsilon": self.epsilon,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="cb_keras")
class ScaledDense(layers.Layer):
    """Logits with a learnt scale for each class, `[..., D]` to `[..., units]`.

    `z_c = s_c (x . w_c + b_c)`, the scales 1 at first: the head of a second stage that begins with
    the weights and the bias of the first (learnable weight scaling).

    Args:
        units: Number of classes C.
        regularizer: Of the weights w, the biases b and the scales s.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: `units` is out of range.

    Examples:
        >>> import keras
        >>> import cb_keras
        >>> layer = cb_keras.layers.ScaledDense(2)
        >>> layer.build((None, 2))
        >>> _ = layer.kernel.assign([[1.0, 0.0], [0.0, 1.0]])
        >>> _ = layer.scale.assign([1.0, 0.5])
        >>> [round(float(z), 2) for z in layer(keras.ops.convert_to_tensor([[3.0, 4.0]]))[0]]
        [3.0, 2.0]

    Source: Kang et al., ICLR 2020, section 4.3; Zhong et al., CVPR 2021, whose official code trains
    w and b too.
    """

    def __init__(self, units: int, regularizer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.units = check_whole_number("units", units, 1)
        self.regularizer = keras.regularizers.get(regularizer)

    def build(self, input_shape: Any) -> None:
        """Makes the weights `[D, units]`, the bias and the scales `[units]`."""
        own = {"kernel": "glorot_uniform", "bias": "zeros", "scale": "ones"}
        for name, initializer in own.items():
            shape = (input_shape[-1], self.units) if name == "kernel" else (self.units,)
            weight = self.add_weight(
                name=name, shape=shape, initializer=initializer, regularizer=self.regularizer
            )
            setattr(self, name, weight)
        self.built = True

    def call(self, inputs: Any) -> Any:
        """The logits."""
        return (ops.matmul(inputs, self.kernel) + self.bias) * self.scale

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """`[..., units]`."""
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer."""
        regularizer = keras.regularizers.serialize(self.regularizer)
        return {**super().get_config(), "units": self.units, "regularizer": regularizer}


@keras.saving.register_keras_serializable(package="cb_keras")
class LogitAdjustment(layers.Layer):
    """Logits less the logarithms of the class frequencies, `z - tau log pi`, divided by T.

    Bakes `cb_keras.posthoc.adjust_logits` and a temperature into a model that is saved or
    exported; with `to_prior`, `(z - tau log pi + log to_prior) / T`, `posthoc.shift_prior`.

    Args:
        class_counts: Training examples per class `[C]`, integers >= 1.
        tau: Factor >= 0, such as that of `cb_keras.posthoc.fit_tau`.
        temperature: T > 0, such as that of `cb_keras.posthoc.fit_temperature` for the adjusted
            logits.
        to_prior: Class frequencies where the model is used, `[C]`, > 0, for other than balanced
            classes; they are divided by their sum.
        **kwargs: As in `keras.layers.Layer`.

    Raises:
        ValueError: An argument is out of range, or the inputs have another number of classes.

    Examples:
        >>> import keras
        >>> import cb_keras
        >>> layer = cb_keras.layers.LogitAdjustment([9, 1])
        >>> [round(float(z), 2) for z in layer(keras.ops.zeros((1, 2)))[0]]
        [0.11, 2.3]

    Source: Menon et al., ICLR 2021, equation 9.
    """

    def __init__(
        self,
        class_counts: ByClass,
        tau: float = 1.0,
        temperature: float = 1.0,
        to_prior: ByClass | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.class_counts = [int(n) for n in counts_of_all(class_counts)]
        self.tau = check_tau(tau)
        self.temperature = check_positive("temperature", temperature)
        self._looks_at_values = True  # once: they are copied from the device
        self.to_prior = None
        if to_prior is not None:
            self.to_prior = np.exp(log_shares("to_prior", to_prior)).tolist()
            if len(self.to_prior) != len(self.class_counts):
                raise ValueError(
                    f"`class_counts` has {len(self.class_counts)} classes, `to_prior` has "
                    f"{len(self.to_prior)}: give one number for each class."
                )

    def build(self, input_shape: Any) -> None:
        """Checks the number of classes."""
        if input_shape[-1] != len(self.class_counts):
            raise ValueError(
                f"`class_counts` has {len(self.class_counts)} classes, the logits have "
                f"{input_shape[-1]}."
            )
        self.built = True

    def call(self, logits: Any) -> Any:
        """The adjusted logits, float32 at least."""
        words = "LogitAdjustment takes logits", "put it before the activation"
        if warn_of_activation(logits, self._looks_at_values, *words):
            self._looks_at_values = False
        offset = -self.tau * log_prior(self.class_counts)
        if self.to_prior is not None:
            offset = offset + log_shares("to_prior", self.to_prior)
        dtype = at_least_float32(logits)
        adjusted = ops.cast(logits, dtype) + ops.convert_to_tensor(offset, dtype)
        return adjusted / self.temperature

    def compute_output_spec(self, logits: Any) -> Any:
        """Float32 at least, in the shape of the logits."""
        return keras.KerasTensor(logits.shape, at_least_float32(logits))

    def get_config(self) -> dict[str, Any]:
        """Arguments that make the same layer."""
        own = {
            "class_counts": self.class_counts,
            "tau": self.tau,
            "temperature": self.temperature,
            "to_prior": self.to_prior,
        }
        return {**super().get_config(), **own}
