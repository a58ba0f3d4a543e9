"""The fused op where XLA compiles what is around it: it refuses by name, or stays outside.

Each test has a process of its own: XLA's settings are read once.
"""

import json

import numpy as np
import pytest

from tests.fused_library import report, require_tensorflow, run_python

require_tensorflow()
pytestmark = pytest.mark.usefixtures("fused_op")

INNER = """
import json
import tensorflow as tf
import cb_keras

loss = cb_keras.losses.ClassBalancedFocalCrossentropy([5, 3, 2], fused=True)
labels, inputs = tf.constant([0, 1, 2]), tf.reshape(tf.range(9.0), (3, 3)) / 9

@tf.function
def inner(inputs):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(labels, tf.tanh(inputs * 2) + 1)
    return value, tape.gradient(value, inputs)

inner(inputs)  # traced outside of what is compiled, with the op
"""
COMPILED = (
    INNER
    + """
def outer(inputs):
    return inner(inputs)

def experimental(inputs):
    return tf.xla.experimental.compile(outer, [inputs])

errors = []
for function in (tf.function(outer, jit_compile=True), tf.function(experimental)):
    try:
        function(inputs)
    except tf.errors.UnimplementedError as error:
        errors.append(str(error))
print(json.dumps(errors))
"""
)
CLUSTERED = (
    INNER
    + """
@tf.function
def outer(inputs):
    value, gradient = inner(tf.sin(tf.tanh(inputs * 1.5) + inputs * 0.5))
    return value * 2 + tf.reduce_sum(tf.exp(gradient) * gradient)

print(json.dumps(outer(inputs).numpy().item()))
"""
)


def test_a_function_with_the_op_that_xla_compiles_later_says_what_to_do():
    errors = report(COMPILED)
    assert len(errors) == 2
    for error in errors:
        assert "the fused op of cb_keras (CbKeras" in error
        assert "can't be compiled by XLA: make the loss with fused=False, or compile" in error
        assert "No registered" not in error


def test_where_tensorflow_chooses_what_xla_compiles_the_op_runs_as_it_is():
    flags = "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit --tf_xla_min_cluster_size=1"
    process = run_python("-c", CLUSTERED, TF_XLA_FLAGS=flags, TF_CPP_MIN_LOG_LEVEL="0")
    assert process.returncode == 0, process.stderr
    value = json.loads(process.stdout.splitlines()[-1])
    np.testing.assert_allclose(value, report(CLUSTERED), rtol=1e-6)
    assert "Compiled cluster using XLA" in process.stderr
    assert "CbKeras" not in process.stderr  # it is in none of the clusters
