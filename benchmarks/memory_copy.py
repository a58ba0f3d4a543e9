"""Copies of the logits to where a gradient would go: the limit of benchmarks.loss_op.

A loss with its gradient reads the logits once and writes the gradient once, at the least.
"""

import numpy as np
import tensorflow as tf

from benchmarks import loss_problem
from benchmarks.loss_contenders import finished, has_gpu, tensors, threads
from benchmarks.loss_problem import WrongAnswer, threaded_copy

NEW_TENSOR = "copy, new tensor"
WARM = "copy, warm memory"


def copies(problem):
    """Copies of `problem.logits`, by as many threads as TensorFlow computes with.

    NEW_TENSOR: TensorFlow's own copying op (at most four threads), into memory that its allocator
        gives for each call, as it does for every op's output. With oneDNN, the default on CPUs
        with AVX512_VNNI, it keeps freed blocks of 256 KiB and more, so that the memory is warm
        from the second call on; without (TF_ENABLE_ONEDNN_OPTS=0) large blocks come from the
        system each time, page by page. The benchmark's column of page faults shows which it is.
    WARM: into memory that was written before, by numpy in threads. Not on a GPU.

    Returns:
        Dict of name to a step that returns the copy.
    """
    logits = tensors(problem)[1]
    deep_copy = tf.function(lambda x: tf.raw_ops.DeepCopy(x=x), autograph=False)
    steps = {NEW_TENSOR: lambda: finished(deep_copy(logits))}
    if not has_gpu():
        copy, warm = threaded_copy(problem.logits, threads()), np.zeros_like(problem.logits)
        steps[WARM] = lambda: copy(warm)
    return steps


def check(steps, problem):
    """Raises WrongAnswer if a copy is not the logits."""
    for name, step in steps.items():
        if not np.array_equal(loss_problem.numpy_of(step()), problem.logits):
            raise WrongAnswer(f"{name}: it is not equal to the original.")
