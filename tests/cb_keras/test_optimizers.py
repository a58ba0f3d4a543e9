"""MomentumSGD against the update rule in float64 numpy, and against PyTorch's SGD."""

import keras
import numpy as np
import pytest

import cb_keras

X = np.arange(12, dtype="float32").reshape(4, 3) / 10
Y = np.ones((4, 1), "float32")
RATES = [0.1, 0.1, 0.1, 0.001, 0.001, 0.001]


def trained_weights(optimizer_class, **arguments):
    """Weights of linear regression after each step, with the rate dropping after three."""
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, 0.001])
    model = keras.Sequential(
        [keras.Input((3,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")]
    )
    model.compile(optimizer_class(schedule, **arguments), "mse")
    weights = []
    for _ in RATES:
        model.train_on_batch(X, Y)
        weights.append(model.get_weights()[0].ravel())
    return np.array(weights)


def expected_weights(momentum, nesterov):
    x, y = X.astype("float64"), Y.astype("float64")
    w, v, weights = np.ones((3, 1)), 0.0, []
    for rate in RATES:
        g = 2 * x.T @ (x @ w - y) / len(x)
        v = momentum * v + g
        w = w - rate * (g + momentum * v if nesterov else v)
        weights.append(w.ravel())
    return np.array(weights)


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_follow_the_update_rule_across_a_drop_of_the_rate(momentum, nesterov):
    ours = trained_weights(cb_keras.optimizers.MomentumSGD, momentum=momentum, nesterov=nesterov)
    np.testing.assert_allclose(ours, expected_weights(momentum, nesterov), rtol=1e-5)


def test_steps_equal_those_of_pytorch_across_a_drop_of_the_rate():
    torch = pytest.importorskip("torch")
    w = torch.ones((3, 1), requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=RATES[0], momentum=0.9)
    x, y, weights = torch.tensor(X), torch.tensor(Y), []
    with torch.enable_grad():
        for rate in RATES:
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            ((x @ w - y) ** 2).mean().backward()
            optimizer.step()
            weights.append(w.detach().cpu().numpy().ravel().copy())
    ours = trained_weights(cb_keras.optimizers.MomentumSGD, momentum=0.9)
    np.testing.assert_allclose(ours, np.array(weights), rtol=1e-5)


def test_keras_own_sgd_agrees_until_the_rate_drops_and_then_moves_further():
    ours = trained_weights(cb_keras.optimizers.MomentumSGD, momentum=0.9)
    keras_own = trained_weights(keras.optimizers.SGD, momentum=0.9)
    np.testing.assert_allclose(keras_own[:3], ours[:3], rtol=1e-5)
    moved, keras_moved = (np.linalg.norm(w[3] - w[2]) for w in (ours, keras_own))
    assert keras_moved > 50 * moved


def test_config_round_trip_keeps_every_argument():
    optimizer = cb_keras.optimizers.MomentumSGD(0.3, momentum=0.8, nesterov=True, clipnorm=2.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, cb_keras.optimizers.MomentumSGD)
    assert again.get_config() == optimizer.get_config()


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_out_of_range_is_an_error(momentum):
    with pytest.raises(ValueError, match=r"`momentum` must be in \[0, 1\)"):
        cb_keras.optimizers.MomentumSGD(0.1, momentum=momentum)
