"""The ResNet for small images of He et al. 2016, as the class-balanced loss papers train it."""

import math
from typing import Any, Literal

import keras
from keras import layers

from cb_keras.checks import (
    check_choice,
    check_depth,
    check_flag,
    check_weight_decay,
    check_whole_number,
)
from cb_keras.layers import BatchNormalization, ChannelPadding, NormalizedDense


def resnet_cifar(
    depth: int = 32,
    input_shape: tuple[int | None, int | None, int] = (32, 32, 3),
    num_classes: int = 10,
    *,
    head: Literal["softmax", "sigmoid", "cosine"] = "softmax",
    weight_decay: float = 2e-4,
    include_preprocessing: bool = True,
    dtype: Any = None,
    name: str | None = None,
) -> keras.Model:
    """ResNet v1 with `depth = 6n + 2` layers: three stages of n basic blocks, 16/32/64 filters.

    A shortcut that changes shape is 2x2 average pooling and zero padding of the channels on both
    sides ("plan A"). At depth 32 with 3 channels and 10 classes it has 464,154 trainable
    parameters (463,504 of them before the dense layer) and 2,272 moving statistics.

    Args:
        depth: `6n + 2` with n >= 1: 8, 14, 20, 26, 32, 44, 56, 110, ...
        input_shape: `(height, width, channels)`; height and width may be None.
        num_classes: Number of logits C.
        head: `"softmax"`: the last bias starts at 0 and is penalised like every variable.
            `"sigmoid"`, for the sigmoid and focal losses: it starts at `-log(C - 1)`, so that
            every class starts with probability 1/C, and is not penalised. `"cosine"`, for the
            LDAM loss: the logits are the cosines of `cb_keras.layers.NormalizedDense`.
        weight_decay: The penalty `weight_decay / 2 * sum(w^2)` over the trainable variables is
            added to the loss; 0 for none.
        include_preprocessing: Whether the model itself maps raw pixels in [0, 255] (uint8 or
            float) to `x / 128 - 1`.
        dtype: Dtype or policy of the layers, e.g. `"mixed_bfloat16"`; None for the global one.
            The logits are float32 (float64 under float64) under any policy.
        name: Name of the model.

    Returns:
        An uncompiled `keras.Model`, `[N, H, W, channels]` to logits `[N, C]`.

    Raises:
        ValueError: `depth` is not `6n + 2`, or another argument is out of range.

    Source: He et al., CVPR 2016, section 4.2; Cui et al., CVPR 2019 and its official code.
    """
    check_flag("include_preprocessing", include_preprocessing)
    depth = check_depth(depth)
    if len(input_shape) != 3 or input_shape[-1] is None:
        raise ValueError(
            f"`input_shape` must be (height, width, channels), got {tuple(input_shape)}."
        )
    num_classes = check_whole_number("num_classes", num_classes, 1)
    check_choice("head", head, ("softmax", "sigmoid", "cosine"))

    block = _Blocks(check_weight_decay(weight_decay), keras.dtype_policies.get(dtype))
    inputs = keras.Input(input_shape, dtype="float32", name="image")
    x = inputs
    if include_preprocessing:
        x = layers.Rescaling(1 / 128, offset=-1, dtype="float32", name="rescaling")(x)
    x = block.conv_bn(x, 16, 1, relu=True, name="stem")
    for stage, filters in enumerate((16, 32, 64), start=1):
        for i in range((depth - 2) // 6):
            stride = 2 if i == 0 and stage > 1 else 1
            x = block.basic(x, filters, stride, name=f"stage{stage}_block{i + 1}")
    x = layers.GlobalAveragePooling2D(
        data_format="channels_last", dtype=block.dtype, name="global_average_pooling"
    )(x)
    outputs = logits_layer(num_classes, head, block.weight_decay, block.dtype)(x)
    return keras.Model(inputs, outputs, name=name or f"resnet{depth}")


class _Blocks:
    """Makes the network's blocks, all with the same weight decay and dtype policy."""

    def __init__(self, weight_decay: float, dtype: Any) -> None:
        self.weight_decay = weight_decay
        self.dtype = dtype

    def penalty(self) -> keras.regularizers.Regularizer | None:
        return keras.regularizers.L2(self.weight_decay / 2) if self.weight_decay else None

    def conv_bn(self, x: Any, filters: int, stride: int, relu: bool, name: str) -> Any:
        padding = "same"
        if stride > 1:
            # As the official code pads: one pixel on every side, not TensorFlow's (0, 1).
            x = layers.ZeroPadding2D(
                1, data_format="channels_last", dtype=self.dtype, name=f"{name}_padding"
            )(x)
            padding = "valid"
        x = layers.Conv2D(
            filters,
            3,
            strides=stride,
            padding=padding,
            use_bias=False,
            data_format="channels_last",
            kernel_regularizer=self.penalty(),
            dtype=self.dtype,
            name=f"{name}_conv",
        )(x)
        x = BatchNormalization(
            momentum=0.9,
            epsilon=1e-5,
            beta_regularizer=self.penalty(),
            gamma_regularizer=self.penalty(),
            dtype=self.dtype,
            name=f"{name}_bn",
        )(x)
        return layers.ReLU(dtype=self.dtype, name=f"{name}_relu")(x) if relu else x

    def basic(self, x: Any, filters: int, stride: int, name: str) -> Any:
        shortcut = x
        if stride > 1:
            shortcut = layers.AveragePooling2D(
                stride,
                padding="same",
                data_format="channels_last",
                dtype=self.dtype,
                name=f"{name}_shortcut",
            )(x)
            shortcut = ChannelPadding(
                filters - x.shape[-1], dtype=self.dtype, name=f"{name}_shortcut_padding"
            )(shortcut)
        x = self.conv_bn(x, filters, stride, relu=True, name=f"{name}_1")
        x = self.conv_bn(x, filters, 1, relu=False, name=f"{name}_2")
        x = layers.Add(dtype=self.dtype, name=f"{name}_add")([x, shortcut])
        return layers.ReLU(dtype=self.dtype, name=f"{name}_relu")(x)


def logits_layer(
    num_classes: int, head: str, weight_decay: float, dtype: Any = None
) -> keras.layers.Layer:
    """The dense layer `logits` that a classifier ends with.

    Args:
        num_classes: Number of logits C.
        head: `"softmax"`, `"sigmoid"` or `"cosine"`, as in `resnet_cifar`.
        weight_decay: As in `resnet_cifar`.
        dtype: Dtype or policy of the layers before it; its own is float32 at least.

    Returns:
        A `keras.layers.Layer`, `[N, features]` to `[N, C]`.
    """
    sigmoid = head == "sigmoid"
    prior = -math.log(num_classes - 1) if sigmoid and num_classes > 1 else 0.0
    penalty = keras.regularizers.L2(weight_decay / 2) if weight_decay else None
    computes_in = keras.dtype_policies.get(dtype).compute_dtype
    # Low-precision logits would round the loss: the last layer is float32 at least.
    own_dtype = "float64" if computes_in == "float64" else "float32"
    if head == "cosine":
        return NormalizedDense(
            num_classes, kernel_regularizer=penalty, dtype=own_dtype, name="logits"
        )
    return layers.Dense(
        num_classes,
        bias_initializer=keras.initializers.Constant(prior),
        kernel_regularizer=penalty,
        bias_regularizer=None if sigmoid else penalty,
        dtype=own_dtype,
        name="logits",
    )
