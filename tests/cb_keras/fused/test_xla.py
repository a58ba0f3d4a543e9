"""The fused op where XLA compiles what is around it: it refuses by name, or stays outside."""

import json

import numpy as np
import pytest

import cb_keras
from tests.cb_keras.fused.cases import tf
from tests.fused_library import run_python

pytestmark = pytest.mark.usefixtures("fused_op")

CLUSTERED = """
import json
from tests.cb_keras.fused.test_xla import value_and_gradient_in_other_ops

print(json.dumps(value_and_gradient_in_other_ops()))
"""


def inputs():
    return tf.reshape(tf.range(9.0), (3, 3)) / 9


def loss_and_gradient():
    """A `tf.function` that was traced outside of what is compiled, with the op."""
    loss = cb_keras.losses.ClassBalancedFocalCrossentropy([5, 3, 2], fused=True)
    labels = tf.constant([0, 1, 2])

    @tf.function
    def inner(inputs):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            value = loss(labels, tf.tanh(inputs * 2) + 1)
        return value, tape.gradient(value, inputs)

    inner(inputs())
    return inner


def value_and_gradient_in_other_ops():
    """A number that is computed by the op, and by other ops before and after it."""
    inner = loss_and_gradient()

    @tf.function
    def outer(inputs):
        value, gradient = inner(tf.sin(tf.tanh(inputs * 1.5) + inputs * 0.5))
        return value * 2 + tf.reduce_sum(tf.exp(gradient) * gradient)

    return outer(inputs()).numpy().item()


@pytest.mark.parametrize("way", ["jit_compile", "tf.xla.experimental"])
def test_a_function_with_the_op_that_xla_compiles_later_says_what_to_do(way):
    inner = loss_and_gradient()

    def outer(inputs):
        return inner(inputs)

    compiled = {
        "jit_compile": tf.function(outer, jit_compile=True),
        "tf.xla.experimental": tf.function(lambda x: tf.xla.experimental.compile(outer, [x])),
    }[way]
    with pytest.raises(tf.errors.UnimplementedError) as raised:
        compiled(inputs())
    error = str(raised.value)
    assert "the fused op of cb_keras (CbKeras" in error
    assert "can't be compiled by XLA: make the loss with fused=False, or compile" in error
    assert "No registered" not in error


@pytest.mark.slow
def test_where_tensorflow_chooses_what_xla_compiles_the_op_runs_as_it_is():
    """In a process of its own: XLA's settings are read once."""
    flags = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit --tf_xla_min_cluster_size=1"
    process = run_python("-c", CLUSTERED, TF_XLA_FLAGS=flags, TF_CPP_MIN_LOG_LEVEL="0")
    assert process.returncode == 0, process.stderr
    value = json.loads(process.stdout.splitlines()[-1])
    np.testing.assert_allclose(value, value_and_gradient_in_other_ops(), rtol=1e-6)
    assert "Compiled cluster using XLA" in process.stderr
    assert "CbKeras" not in process.stderr  # it is in none of the clusters
