"""The network of a second stage: the trunk of the first, and a head to be trained."""

import keras

import cb_keras
from experiments.cli import UserError
from experiments.exports import keras_file
from experiments.methods.method import SCALED_HEAD
from experiments.runs import sampling


def begin(model, settings, head):
    """The network that a second stage trains the head of.

    Args:
        model: The network as a training from the beginning makes it.
        settings: Checked settings, with `first_stage`.
        head: `NEW_HEAD`: that of `model`; or `SCALED_HEAD`: that of the first stage, with scales.

    Returns:
        A `keras.Model` whose last layer alone is to be trained.

    Raises:
        UserError: The first stage has another network than its settings say.
    """
    folder = settings["first_stage"]
    first = keras_file.load(f"{folder}/model.keras")
    trunk, trained = (_weights(network.layers[:-1]) for network in (model, first))
    # Not by layers: an older version of the package may have had others without weights.
    if [w.shape for w in trunk] != [w.shape for w in trained]:
        raise UserError(f"--first_stage={folder} has another network in its model.keras.")
    for ours, theirs in zip(trunk, trained, strict=True):
        ours.assign(keras.ops.convert_to_numpy(theirs))
    if head == SCALED_HEAD:
        model = _scaled(model, first.layers[-1], settings["weight_decay"])
    if settings["sampler"] == sampling.UNIFORM:
        print(
            f"--sampler={sampling.UNIFORM}: the head is trained on the long tail as it is; the "
            "papers balance the classes here, --sampler=class_balanced"
        )
    kind = "the head of the first with scales" if head == SCALED_HEAD else "a new head"
    print(f"{kind} is trained; the trunk is frozen, its batch normalisation in inference mode")
    return model


def _weights(layers):
    return [variable for layer in layers for variable in layer.weights]


def _scaled(model, first, weight_decay):
    """The network with the weights of the first stage's head, and a scale for each class."""
    penalty = keras.regularizers.L2(weight_decay / 2) if weight_decay else None
    head = cb_keras.layers.ScaledDense(
        first.units, penalty, dtype=first.dtype_policy.name, name=first.name
    )
    outputs = head(model.layers[-2].output)
    head.kernel.assign(keras.ops.convert_to_numpy(first.kernel))
    head.bias.assign(keras.ops.convert_to_numpy(first.bias))
    return keras.Model(model.inputs, outputs, name=model.name)
