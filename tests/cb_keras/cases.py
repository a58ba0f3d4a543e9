"""Cases that several test files of the library share.

Logits (0, log 2) make hand numbers: softmax gives p = 1/3, 2/3, sigmoid p = 1/2, 2/3.
"""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import cb_keras
from cb_keras import functional, losses
from tests.cb_keras import reference
from tests.cb_keras.gradients import BACKEND

LOSSES = {
    "softmax": functional.class_balanced_softmax_crossentropy,
    "sigmoid": functional.class_balanced_sigmoid_crossentropy,
    "focal": functional.class_balanced_focal_crossentropy,
    "softmax_focal": functional.class_balanced_softmax_focal_crossentropy,
}
CLASSES = {
    "softmax": losses.ClassBalancedSoftmaxCrossentropy,
    "sigmoid": losses.ClassBalancedSigmoidCrossentropy,
    "focal": losses.ClassBalancedFocalCrossentropy,
    "softmax_focal": losses.ClassBalancedSoftmaxFocalCrossentropy,
}
OF_COUNTS = [  # the losses of one class of many, all made with class counts
    *CLASSES.values(),
    losses.LDAMCrossentropy,
    losses.LabelAwareSmoothingCrossentropy,
    losses.LogitAdjustedCrossentropy,
    losses.VectorScalingCrossentropy,
]
# The sigmoid loss is the focal loss with gamma 0, in code too: TensorFlow's tests show that, and
# those of the other backends need not do all of it twice.
# The softmax focal loss has a file of its own.
KINDS = ["softmax", "sigmoid", "focal"] if BACKEND == "tensorflow" else ["softmax", "focal"]
kinds = pytest.mark.parametrize("kind", KINDS)
# The formulas at which a loss can differ: gamma of softmax and sigmoid has no effect.
_GAMMAS = (0.0, 0.5, 1.0, 2.0, 5.0) if BACKEND == "tensorflow" else (0.0, 0.5, 2.0)
FORMULAS = [
    *((kind, {}) for kind in KINDS if kind != "focal"),
    *(("focal", {"gamma": gamma}) for gamma in _GAMMAS),
]
every_formula = pytest.mark.parametrize(
    ("kind", "kwargs"),
    FORMULAS,
    ids=[f"{kind}{kwargs.get('gamma', '')}" for kind, kwargs in FORMULAS],
)

# A batch of four, all of whose numbers but the weights are exact in bfloat16 and float16.
COUNTS = [900, 90, 9]
IDS = np.array([0, 1, 2, 2])
LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-4.0, 1.0, 1.5], [0.25, 0.5, -1.0]])
TARGETS = reference.one_hot(IDS, 3)
WEIGHTS = np.array([0.2, 0.7, 2.1])
# Every public loss by its name: a function of options that makes it, and labels of LOGITS.
EVERY_LOSS = {
    **{loss.__name__: (functools.partial(loss, COUNTS), IDS) for loss in OF_COUNTS},
    "ClassBalancedBinaryCrossentropy": (
        functools.partial(losses.ClassBalancedBinaryCrossentropy, [[90, 10]] * len(COUNTS)),
        TARGETS,
    ),
    "AsymmetricCrossentropy": (losses.AsymmetricCrossentropy, TARGETS),
}
BALANCED = cb_keras.class_balanced_weights(COUNTS)

# A batch of six for a linear model.
INPUTS = np.random.default_rng(1).normal(size=(6, 4)).astype("float32")
IDS_OF_INPUTS = np.array([0, 2, 1, 0, 2, 2])
KERNEL = np.random.default_rng(2).normal(size=(4, 3)).astype("float32")
MODES = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "compiled": {"jit_compile": True},
}
modes = pytest.mark.parametrize("mode", MODES)
_kinds_and_modes = pytest.mark.parametrize(
    ("kind", "mode", "both_ways"),
    [
        *(("softmax", "eager", "fused op"), ("sigmoid", "eager", "keras.ops")),
        *(("focal", "eager", "fused op"), ("softmax", "graph", "keras.ops")),
        *(("sigmoid", "graph", "fused op"), ("focal", "graph", "fused op")),
        *(("softmax", "compiled", "keras.ops"), ("sigmoid", "compiled", "keras.ops")),
        ("focal", "compiled", "fused op"),
    ],
    indirect=["both_ways"],
)
# Each mode with another loss, for what a mode may change and the formula may not.
a_kind_a_mode = pytest.mark.parametrize(
    ("kind", "mode"), [("softmax", "eager"), ("sigmoid", "graph"), ("focal", "compiled")]
)

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
if BACKEND == "torch":
    INTEGERS.remove("uint64")  # Keras has none there


def kinds_and_modes(test):
    """Each loss in each mode, by the op or keras.ops in turn."""
    return _kinds_and_modes(pytest.mark.usefixtures("both_ways")(test))


def kinds_both_ways(test):
    """`kinds`, each by keras.ops and, on TensorFlow, by the fused op."""
    return kinds(pytest.mark.usefixtures("both_ways")(test))


def refusal(mode):
    """What an invalid label raises: ValueError, TensorFlow's own error in one of its graphs."""
    if BACKEND == "tensorflow" and mode == "graph":
        from tensorflow import errors

        return errors.InvalidArgumentError
    return ValueError


def holds(value, *position):
    """Pattern of an error that names a label and its place; a graph's has brackets in between."""
    place = "[, ]+".join(map(str, position))
    return rf"`y_true` holds[] []+{value}[] []+at position[] []+{place}\b"


def number(tensor):
    return ops.convert_to_numpy(tensor)


def loss_of(kind, labels, logits=LOGITS, weights=WEIGHTS, **kwargs):
    """Float32 loss per example of a function of `cb_keras.functional`, as a numpy array."""
    logits = ops.convert_to_tensor(logits, dtype="float32")
    return number(LOSSES[kind](labels, logits, weights, **kwargs))


def expected_losses(kind, ids=IDS, logits=LOGITS, counts=COUNTS, **kwargs):
    """Per example, in float64 from `reference.py` and the library's weights."""
    weights = cb_keras.class_balanced_weights(counts).astype("float64")
    targets = reference.one_hot(ids, len(counts))
    return reference.loss(kind, logits, targets, weights[ids], **kwargs)


def linear_model(loss, mode="graph", learning_rate=0.5, **kwargs):
    """A compiled model of `INPUTS` to logits, `KERNEL` its only weight."""
    if BACKEND == "torch" and mode == "compiled":
        pytest.skip("`jit_compile` is XLA's; on PyTorch Keras would need a C++ compiler")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, use_bias=False)])
    model.set_weights([KERNEL])
    model.compile(keras.optimizers.SGD(learning_rate), loss, **MODES[mode], **kwargs)
    return model


def fit(model, labels=IDS_OF_INPUTS, epochs=1, **kwargs):
    """Loss of each epoch, of one step on `INPUTS`."""
    history = model.fit(
        INPUTS, labels, batch_size=6, epochs=epochs, shuffle=False, verbose=0, **kwargs
    )
    return history.history["loss"]
