"""Ways to the loss and its gradient, side by side in benchmarks.loss_op.

Every contender computes the mean over the batch of the weighted loss per example, and its
gradient with respect to the logits. One call is one pass through all of it: forward, backward, and
the gradient's memory taken and given back.
"""

import numpy as np
import tensorflow as tf

from benchmarks.loss_problem import (
    GAMMA,
    TOLERANCE,
    Unavailable,
    WrongAnswer,
    cores,
    numpy_of,
)
from benchmarks.losses import LOSSES
from cb_keras import fused
from cb_keras.fused import library

COMPOSED = "composed TF"
XLA = "composed TF, XLA"
KERAS = "Keras built-in"
FUNCTIONAL = "cb_keras.functional"
FUSED_OP = "fused op"
FUSED_LOSS = "fused Loss class"
TORCH = "PyTorch eager"
TORCH_COMPILED = "torch.compile"


def has_gpu():
    return bool(tf.config.list_physical_devices("GPU"))


def threads():
    """Threads that TensorFlow computes with."""
    return tf.config.threading.get_intra_op_parallelism_threads() or cores()


def tensors(problem):
    """Labels, logits and weights where TensorFlow computes."""
    with tf.device("GPU:0" if has_gpu() else "CPU:0"):
        return [tf.constant(x) for x in (problem.labels, problem.logits, problem.weights)]


def finished(result):
    """`result`, once it is computed; on the CPU a call does not return before."""
    if has_gpu():
        tf.test.experimental.sync_devices()
    return result


def contenders(problem):
    """`(name -> step, name -> why it is missing)`; a step returns `(loss, gradient)`."""
    steps, missing = {}, {}
    for name, make in CONTENDERS.items():
        try:
            steps[name] = make(problem)
        except Unavailable as error:
            missing[name] = str(error)
    return steps, missing


def check(steps, problem):
    """Compares every step's loss and gradient with those of the fused op.

    Args:
        steps: Dict of name to step, with the fused op among them.
        problem: What they compute.

    Raises:
        WrongAnswer: One differs by more than `TOLERANCE`.
    """

    def results(name):
        loss, gradient = map(numpy_of, steps[name]())
        return np.mean(loss, dtype="float64"), gradient

    expected, expected_gradient = results(FUSED_OP)
    clipped = np.full(len(problem.labels), False)
    if LOSSES[problem.loss].keras_clips:
        clipped = problem.clipped_by_keras()
    scale = (problem.weights[problem.labels] / len(problem.labels))[:, np.newaxis]
    for name in steps:
        loss, gradient = results(name)
        rows = ~clipped if name == KERAS else np.full(len(clipped), True)
        if rows.all() and not abs(loss - expected) <= TOLERANCE * abs(expected):
            raise WrongAnswer(f"{name}: its {problem.loss} loss is {loss}, the op's {expected}.")
        if gradient.shape != expected_gradient.shape:
            raise WrongAnswer(f"{name}: its gradient has the shape {gradient.shape}.")
        error = np.max((np.abs(gradient - expected_gradient) / scale)[rows])
        if not error <= TOLERANCE:
            raise WrongAnswer(
                f"{name}: its gradient of the {problem.loss} loss is off by {error:.3g} of an "
                f"example's weight / N, {TOLERANCE} is allowed."
            )


def _step(function, problem):
    # As arguments: what a tf.function captures may become a constant and be computed beforehand.
    arguments = tensors(problem)
    return lambda: finished(function(*arguments))


def _by_tape(mean_loss, problem, jit_compile=False):
    """Step of `mean_loss(labels, logits, weights)` with its gradient, in a tf.function."""

    @tf.function(jit_compile=jit_compile, autograph=False)
    def loss_and_gradient(labels, logits, weights):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = mean_loss(labels, logits, weights)
        return loss, tape.gradient(loss, logits)

    return _step(loss_and_gradient, problem)


def _composed(problem, jit_compile=False):
    """The loss in TensorFlow's own ops."""
    composed = LOSSES[problem.loss].tensorflow

    def mean_loss(labels, logits, weights):
        return tf.reduce_mean(tf.gather(weights, labels) * composed(labels, logits))

    return _by_tape(mean_loss, problem, jit_compile)


def _keras(problem):
    loss = LOSSES[problem.loss].keras()
    return _by_tape(
        lambda labels, logits, weights: loss(labels, logits, tf.gather(weights, labels)), problem
    )


def _functional(problem):
    loss = LOSSES[problem.loss]

    def mean_loss(labels, logits, weights):
        return tf.reduce_mean(loss.function(labels, logits, weights, **loss.arguments))

    return _by_tape(mean_loss, problem)


def _fused_op(problem):
    """The op itself, one pass; the loss is per example."""
    op = _ops().cb_keras_loss_and_gradient
    upstream = 1.0 / len(problem.labels)

    @tf.function(autograph=False)
    def loss_and_gradient(labels, logits, weights):
        return op(logits, labels, weights, GAMMA, upstream, loss=problem.loss)

    return _step(loss_and_gradient, problem)


def _fused_loss(problem):
    """As users have it: the Loss class, its gradient by tape."""
    _ops()
    ours = LOSSES[problem.loss]
    loss = ours.loss_class(class_weights=problem.weights, fused=True, **ours.arguments)
    return _by_tape(lambda labels, logits, _: loss(labels, logits), problem)


def _ops():
    if not fused.available():
        raise SystemExit(fused.status())  # without it there is nothing to compare with
    return library.find()[0]


def _torch(problem, compiled=False):
    try:
        import torch
    except ImportError as error:
        raise Unavailable("torch is not installed") from error
    device = "cuda" if has_gpu() else "cpu"
    if has_gpu() and not torch.cuda.is_available():
        raise Unavailable("this torch has no CUDA")
    torch.set_num_threads(threads())
    labels, logits, weights = (
        torch.from_numpy(array).to(device)
        for array in (problem.labels, problem.logits, problem.weights)
    )
    logits.requires_grad_()

    def mean_loss(labels, logits, weights):
        losses = LOSSES[problem.loss].torch(torch, labels, logits)
        return (weights[labels] * losses).mean()

    if compiled:
        torch.compiler.reset()
        mean_loss = torch.compile(mean_loss, dynamic=False)

    def step():
        loss = mean_loss(labels, logits, weights)
        (gradient,) = torch.autograd.grad(loss, logits)
        if has_gpu():
            torch.cuda.synchronize()
        return loss, gradient

    if compiled:
        try:
            step()
        except Exception as error:  # the compilers' errors have no common base
            raise Unavailable(str(error).strip().split("\n")[0][:200]) from error
    return step


CONTENDERS = {
    COMPOSED: _composed,
    XLA: lambda problem: _composed(problem, jit_compile=True),
    KERAS: _keras,
    FUNCTIONAL: _functional,
    FUSED_OP: _fused_op,
    FUSED_LOSS: _fused_loss,
    TORCH: _torch,
    TORCH_COMPILED: lambda problem: _torch(problem, compiled=True),
}
