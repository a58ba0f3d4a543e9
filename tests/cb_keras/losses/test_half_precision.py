"""Logits of 16 bits: the op computes from them as they are, what it would from their float32."""

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import fused
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, kinds
from tests.cb_keras.gradients import BACKEND, value_and_gradient
from tests.fused_library import ensure_library


@pytest.fixture
def op_sees(monkeypatch):
    """Dtypes of the logits that the op was given, a list."""
    ensure_library()
    seen, original = [], fused.prepared

    def prepared(form, labels, logits, *args, **kwargs):
        seen.append(keras.backend.standardize_dtype(logits.dtype))
        return original(form, labels, logits, *args, **kwargs)

    monkeypatch.setattr(fused, "prepared", prepared)
    return seen


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@kinds
def test_logits_of_16_bits_give_the_loss_of_their_float32_and_its_rounded_gradient(
    kind, dtype, op_sees
):
    half = ops.convert_to_numpy(ops.cast(ops.cast(LOGITS, dtype), "float32"))
    loss = CLASSES[kind](COUNTS, fused=True)
    expected, gradient = value_and_gradient(lambda z: loss(IDS, z), half)
    found, rounded = value_and_gradient(lambda z: loss(IDS, ops.cast(z, dtype)), half)
    assert op_sees == ["float32", dtype]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(
        rounded, gradient, rtol={"bfloat16": 2**-8, "float16": 2**-10}[dtype]
    )


def test_sums_and_single_losses_of_16_bits_are_float32(op_sees):
    for reduction in ("sum", None):
        loss = CLASSES["softmax"](COUNTS, fused=True, reduction=reduction)
        full = loss(IDS, ops.cast(ops.cast(LOGITS, "bfloat16"), "float32"))
        half = loss(IDS, ops.cast(LOGITS, "bfloat16"))
        assert keras.backend.standardize_dtype(half.dtype) == "float32"
        np.testing.assert_array_equal(ops.convert_to_numpy(half), ops.convert_to_numpy(full))
    assert "bfloat16" in op_sees


@pytest.mark.skipif(BACKEND == "jax", reason="JAX has no words for labels in compiled code")
def test_a_label_that_is_no_class_is_named_whatever_the_logits_are(op_sees):
    loss = CLASSES["softmax"](COUNTS, fused=True)
    with pytest.raises(Exception, match="-3"):
        loss(np.full(len(IDS), -3), ops.cast(LOGITS, "bfloat16"))
