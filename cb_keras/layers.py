"""Layers of networks for images."""

from typing import Any

import keras
from keras import layers, ops


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
            and not (self.renorm or self.synchronized)
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
    """

    def __init__(self, channels: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.channels = channels

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
