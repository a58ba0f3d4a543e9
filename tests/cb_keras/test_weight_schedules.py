"""Class weights by epoch."""

import numpy as np
import pytest

import cb_keras
from cb_keras.weight_schedules import deferred, power_ramp
from tests.cb_keras.cases import COUNTS


def test_weights_that_are_deferred_are_equal_first():
    schedule = deferred(cb_keras.class_balanced_weights(COUNTS), 3)
    for epoch in range(6):
        right = cb_keras.class_balanced_weights(COUNTS, power=float(epoch >= 3))
        np.testing.assert_allclose(schedule(epoch), right, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "powers"),
    [
        ("linear", [0.5, 0.875, 1.25, 1.625, 2.0, 2.0]),
        ("cosine", [0.5, 0.5 + 1.5 * (1 - 2**-0.5) / 2, 1.25, 0.5 + 1.5 * (1 + 2**-0.5) / 2, 2, 2]),
        ("step", [0.5, 0.5, 2.0, 2.0, 2.0, 2.0]),
    ],
)
def test_a_ramp_goes_from_one_power_to_the_other(shape, powers):
    schedule = power_ramp(COUNTS, 5, 0.5, 2.0, shape, beta=0.99, normalize="examples")
    for epoch, power in enumerate(powers):
        right = cb_keras.class_balanced_weights(COUNTS, 0.99, power, "examples")
        np.testing.assert_allclose(schedule(epoch), right, rtol=1e-5)
    np.testing.assert_allclose(power_ramp(COUNTS, 1, 0.0, 0.0)(0), 1)


def test_what_makes_no_schedule_is_refused_before_the_training():
    with pytest.raises(ValueError, match="`start_epoch` must be a whole number >= 0"):
        deferred([1, 2], -1)
    with pytest.raises(ValueError, match="`weights`"):
        deferred([1, -2], 3)
    with pytest.raises(ValueError, match='`shape` must be "linear" or "cosine" or "step"'):
        power_ramp(COUNTS, 5, shape="sine")
    with pytest.raises(ValueError, match="`power` must be finite"):
        power_ramp(COUNTS, 5, end=np.inf)
    with pytest.raises(ValueError, match="`epochs` must be a whole number >= 1"):
        power_ramp(COUNTS, 0)
