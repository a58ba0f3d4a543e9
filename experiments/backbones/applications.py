"""The networks of keras.applications, with their own preprocessing: raw pixels in, logits out."""

import contextlib
import functools
import sys

from experiments.backbones import resnet
from experiments.backbones.family import Family
from experiments.cli import UserError

# The smallest side of an image, where it is not 32.
_SMALLEST = {"InceptionResNetV2": 75, "InceptionV3": 75, "Xception": 71}
_MODES = ("caffe", "tf", "torch")


@functools.cache
def _known():
    """Names of the networks; Keras is asked."""
    from keras import applications

    return tuple(
        name for name, value in vars(applications).items() if name[0].isupper() and callable(value)
    )


def _settled(settings):
    """Upper and lower case do not matter, except for names that are also small ResNets."""
    name = settings.get("backbone")
    if not isinstance(name, str) or resnet.is_one(name):
        return None
    return next(({"backbone": n} for n in _known() if n.lower() == name.lower()), None)


def _problems(settings):
    from experiments.backbones import weights

    name, depth = settings["backbone"], settings["depth"]
    if depth != resnet.DEPTH:
        yield (
            f"--depth={depth} has no effect on --backbone={name}; leave it out (after a flagfile "
            f"that holds it: --depth={resnet.DEPTH})."
        )
    yield from weights.problems(settings)


def check_images(name, shape):
    """Refuses images that the network can't take.

    Raises:
        UserError: They are too small, or have neither one channel nor three.
    """
    height, width, channels = shape
    smallest = _SMALLEST.get(name, 32)
    if min(height, width) < smallest:
        raise UserError(
            f"--backbone={name} takes images of {smallest}x{smallest} pixels at least, and these "
            f"are {height}x{width}: give --image_size={smallest} or more (of folder:PATH), or use "
            "the small ResNet (leave --backbone out)."
        )
    if channels not in (1, 3):
        raise UserError(
            f"--backbone={name} takes images of one channel or three, and these have {channels}: "
            "use the small ResNet (leave --backbone out)."
        )


def _make(settings, input_shape, num_classes, head):
    return network(
        settings["backbone"],
        input_shape,
        num_classes,
        head=head,
        weight_decay=settings["weight_decay"],
        dtype=settings["precision"],
    )


def network(name, input_shape, num_classes, *, head, weight_decay, dtype):
    """A network of keras.applications for raw pixels, with a dense layer for the classes.

    Its trunk is one layer of the network, with random weights and average pooling; the penalty
    `weight_decay / 2 * sum(w^2)` is on every trainable variable, as in `cb_keras.resnet_cifar`, and
    batch normalisation is cb_keras', the same values as one kernel.

    Args:
        name: As in keras.applications.
        input_shape: `(height, width, channels)`; one channel is repeated to three.
        num_classes: C.
        head: As in `cb_keras.resnet_cifar`.
        weight_decay: As there.
        dtype: Policy of the layers, such as "mixed_bfloat16".

    Returns:
        An uncompiled `keras.Model`, `[N, H, W, channels]` to logits `[N, C]`.
    """
    import keras

    from cb_keras.layers import ApplicationPreprocessing
    from cb_keras.resnet import logits_layer

    height, width, channels = input_shape
    inputs = x = keras.Input(input_shape, dtype="float32", name="image")
    if channels == 1:
        x = keras.layers.Concatenate(dtype="float32", name="three_channels")([x, x, x])
    if mode := preprocessing(name):
        x = ApplicationPreprocessing(mode, dtype="float32", name="preprocessing")(x)
    trunk = _trunk(name, (height, width, 3), weight_decay, dtype)
    outputs = logits_layer(num_classes, head, weight_decay, dtype)(trunk(x))
    return keras.Model(inputs, outputs, name=name)


def preprocessing(name):
    """How the module of a network treats pixels: "caffe", "tf" or "torch".

    None where it leaves them as they are, since the network begins with layers that do it. It is
    measured, so that a network that a later Keras brings is right too, or refused.

    Raises:
        UserError: It does something else.
    """
    import numpy as np
    from keras import applications

    make = getattr(applications, name)
    module = sys.modules[make.__module__]
    pixels = np.linspace(0, 255, 12, dtype="float32").reshape(1, 2, 2, 3)
    found = np.asarray(module.preprocess_input(pixels.copy()))
    if np.array_equal(found, pixels):
        return None
    of_mode = applications.imagenet_utils.preprocess_input
    for mode in _MODES:
        if np.allclose(found, of_mode(pixels.copy(), mode=mode), rtol=1e-5, atol=1e-5):
            return mode
    raise UserError(
        f"--backbone={name}: its preprocess_input is none of {', '.join(_MODES)}, which are the "
        "ones that can be exported; use another backbone."
    )


def _trunk(name, input_shape, weight_decay, dtype):
    """The network without its classes, its layers made again with the penalty."""
    import keras

    from cb_keras.layers import BatchNormalization

    penalty = keras.regularizers.L2(weight_decay / 2) if weight_decay else None

    def with_penalty(layer):
        config = layer.get_config()
        for key in config:
            if key.endswith("_regularizer") and key != "activity_regularizer":
                config[key] = penalty
        is_norm = type(layer) is keras.layers.BatchNormalization
        return (BatchNormalization if is_norm else type(layer)).from_config(config)

    make = getattr(keras.applications, name)
    with _policy(dtype):
        plain = make(include_top=False, weights=None, input_shape=input_shape, pooling="avg")
        trunk = keras.models.clone_model(plain, clone_function=with_penalty, recursive=True)
    for variable in trunk.trainable_variables:
        if variable.regularizer is None:  # of layers that take none, as ConvNeXt's scale
            variable.regularizer = penalty
    return trunk


@contextlib.contextmanager
def _policy(dtype):
    """Keras' policy for all layers that are made meanwhile: keras.applications take none."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


FAMILY = Family(
    names="any name of keras.applications (MobileNetV2, EfficientNetB0, ResNet50, ConvNeXtTiny, "
    "...)",
    has=lambda name: name in _known(),
    usual=_known,
    settled=_settled,
    problems=_problems,
    check_images=check_images,
    make=_make,
)
