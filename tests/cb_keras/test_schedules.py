"""The learning-rate schedule at its boundaries, against the protocol's figures and Keras' own."""

import json
import re

import keras
import numpy as np
import pytest
from keras import ops

import cb_keras
from cb_keras.schedules import WarmupPiecewiseConstant

# The protocol of 200 epochs in 100 steps each: warm-up of 5 epochs, drops at 160 and 180.
PROTOCOL = {"peak": 0.1, "warmup_steps": 500, "boundaries": [16000, 18000]}


def rates(schedule, steps):
    return np.array([ops.convert_to_numpy(schedule(step)) for step in steps])


@pytest.mark.parametrize(
    ("decay", "after_first", "after_second"), [(0.01, 1e-3, 1e-5), (0.1, 1e-2, 1e-3)]
)
def test_the_rate_drops_at_the_boundary_itself(decay, after_first, after_second):
    # 0.01: park2022 (0.1, 1e-3, 1e-5); 0.1: cui2019 on balanced data (0.1, 1e-2, 1e-3).
    schedule = WarmupPiecewiseConstant(**PROTOCOL, decay=decay)
    steps = [15999, 16000, 16001, 17999, 18000, 18001, 10**6]
    expected = [0.1, *[after_first] * 3, *[after_second] * 3]
    np.testing.assert_allclose(rates(schedule, steps), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 0.0), (1, 0.0002), (250, 0.05), (499, 0.0998), (500, 0.1), (501, 0.1)],
)
def test_warm_up_is_linear_from_zero_and_ends_at_the_peak(step, rate):
    schedule = WarmupPiecewiseConstant(**PROTOCOL)
    np.testing.assert_allclose(rates(schedule, [step]), [rate], rtol=1e-6)


def test_without_warm_up_the_first_step_has_the_peak_rate():
    assert rates(WarmupPiecewiseConstant(0.5, 0), [0, 1, 10**6]).tolist() == [0.5] * 3


def test_without_warm_up_it_is_keras_piecewise_constant_decay():
    # Keras drops after its boundary, ours at it: hence the 3 and 8.
    keras_own = keras.optimizers.schedules.PiecewiseConstantDecay([3, 8], [0.8, 0.2, 0.05])
    ours = WarmupPiecewiseConstant(0.8, boundaries=[4, 9], decay=0.25)
    np.testing.assert_allclose(rates(ours, range(12)), rates(keras_own, range(12)), rtol=1e-6)


def test_a_boundary_at_the_end_of_the_warm_up_drops_the_rate_there():
    schedule = WarmupPiecewiseConstant(1.0, 4, [4], 0.5)
    np.testing.assert_allclose(rates(schedule, [2, 3, 4, 5]), [0.5, 0.75, 0.5, 0.5])


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float32"])
def test_the_rate_is_a_float32_scalar_for_steps_of_any_type(dtype):
    rate = WarmupPiecewiseConstant(**PROTOCOL)(ops.convert_to_tensor(250, dtype=dtype))
    assert keras.backend.standardize_dtype(rate.dtype) == "float32"
    assert tuple(rate.shape) == ()
    np.testing.assert_allclose(ops.convert_to_numpy(rate), 0.05, rtol=1e-6)


def test_each_training_step_moves_by_the_rate_of_its_step():
    schedule = WarmupPiecewiseConstant(0.4, 2, [3, 5], 0.1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    # The loss is the output, so the gradient is 1 and a weight falls by the rate.
    model.compile(keras.optimizers.SGD(schedule), lambda y_true, y_pred: y_pred)
    model.set_weights([np.zeros((1, 1))])
    weights = [0.0]
    for _ in range(7):
        model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
        weights.append(model.get_weights()[0].item())
    expected = [0.0, 0.2, 0.4, 0.04, 0.04, 0.004, 0.004]
    np.testing.assert_allclose(-np.diff(weights), expected, rtol=1e-4, atol=1e-7)


def test_config_round_trip_keeps_every_argument_and_is_json():
    schedule = WarmupPiecewiseConstant(0.3, 7, (10, 20), 0.5)
    config = json.loads(json.dumps(keras.optimizers.schedules.serialize(schedule)))
    again = keras.optimizers.schedules.deserialize(config)
    assert isinstance(again, WarmupPiecewiseConstant)
    assert again.get_config() == schedule.get_config()
    steps = [0, 3, 6, 7, 9, 10, 19, 20]
    np.testing.assert_array_equal(rates(again, steps), rates(schedule, steps))


def test_an_optimizer_with_the_schedule_survives_its_config():
    optimizer = cb_keras.optimizers.MomentumSGD(WarmupPiecewiseConstant(0.3, 7, [10], 0.5))
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
    assert isinstance(again._learning_rate, WarmupPiecewiseConstant)


@pytest.mark.parametrize("value", [0, -0.1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["peak", "decay"])
def test_peak_and_decay_must_be_finite_and_positive(name, value):
    arguments = {"peak": 0.1, "decay": 0.1, name: value}
    with pytest.raises(ValueError, match=rf"`{name}` must be a finite number > 0, got {value}\."):
        WarmupPiecewiseConstant(**arguments)


@pytest.mark.parametrize("steps", [-1, float("nan"), float("inf")])
def test_warm_up_must_have_zero_or_more_steps(steps):
    with pytest.raises(ValueError, match=rf"`warmup_steps` must be >= 0, got {steps}\."):
        WarmupPiecewiseConstant(0.1, steps)


@pytest.mark.parametrize(
    "boundaries",
    [
        [20, 10],
        [4],
        [10, 20, 15],
        [10, float("nan")],
    ],
)
def test_boundaries_must_ascend_from_the_end_of_the_warm_up(boundaries):
    message = f"`boundaries` must ascend from the end of the warm-up (step 5), got {boundaries}."
    with pytest.raises(ValueError, match=re.escape(message)):
        WarmupPiecewiseConstant(0.1, 5, boundaries)


@pytest.mark.parametrize("boundary", [2**24 + 1, 2**24 + 0.5, 2**30 + 7])
def test_the_rate_drops_at_its_own_step_beyond_what_float32_counts(boundary):
    first = int(np.ceil(boundary))
    schedule = WarmupPiecewiseConstant(1.0, boundaries=[boundary], decay=0.5)
    assert rates(schedule, [first - 2, first - 1, first, first + 1]).tolist() == [1, 1, 0.5, 0.5]
    warm = WarmupPiecewiseConstant(1.0, warmup_steps=boundary)
    assert rates(warm, [first - 1, first])[1] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"peak": "0.1"}, "`peak` must be a number, got '0.1'"),
        ({"peak": True}, "`peak` must be a number, got True"),
        ({"peak": 1, "warmup_steps": None}, "`warmup_steps` must be a number, got None"),
        ({"peak": 1, "boundaries": 160}, "`boundaries` must be a list of steps, got 160"),
        ({"peak": 1, "boundaries": [None]}, "`boundaries` must be a number, got None"),
        ({"peak": 1, "decay": [0.1]}, r"`decay` must be a number, got \[0.1\]"),
    ],
)
def test_what_is_not_a_number_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        WarmupPiecewiseConstant(**arguments)
