"""Counts, beta and power that the weights refuse, and what the messages say."""

import keras
import numpy as np
import pytest

import cb_keras

both = pytest.mark.parametrize(
    "function",
    [lambda counts: cb_keras.effective_number(counts, 0.9), cb_keras.class_balanced_weights],
    ids=["effective_number", "class_balanced_weights"],
)


@both
@pytest.mark.parametrize(
    ("bad", "value"),
    [(0, "0"), (-3, "-3"), (float("nan"), "nan"), (float("inf"), "inf"), (2.5, "2.5")],
)
def test_a_bad_count_is_named_with_its_class_its_value_and_a_remedy(function, bad, value):
    with pytest.raises(ValueError, match=f"class 2 has {value}\\b.*at least one example"):
        function([10, 5, bad, 7])


@both
def test_every_bad_class_is_named_up_to_five(function):
    with pytest.raises(ValueError, match="class 1 has 0, class 3 has -1"):
        function([10, 0, 5, -1])
    with pytest.raises(ValueError, match=r"class 5 has 0 and 3 more\."):
        function([4, 0, 0, 0, 0, 0, 0, 0, 0])


@both
def test_a_count_that_is_masked_is_no_count(function):
    counts = np.ma.masked_array([10, 7, 5], [False, True, False])
    with pytest.raises(ValueError, match=r"`class_counts` has masked entries, \[10 -- 5\]"):
        function(counts)
    np.testing.assert_array_equal(function(np.ma.masked_array(counts.data)), function([10, 7, 5]))


@both
@pytest.mark.parametrize("counts", [[], [[1, 2], [3, 4]], 5, np.float64(3)])
def test_counts_must_be_one_list(function, counts):
    with pytest.raises(ValueError, match="`class_counts` must be a list of one training count"):
        function(counts)


@both
@pytest.mark.parametrize("counts", [["cat", "dog"], [True, False], [1j, 2], [None, 3]])
def test_counts_must_be_numbers(function, counts):
    with pytest.raises(ValueError, match=r"`class_counts` must be numbers.*np\.bincount"):
        function(counts)


@both
@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda c: np.array(c, "float32")])
def test_whole_numbers_of_any_kind_are_counts(function, kind):
    np.testing.assert_array_equal(function(kind([5, 3, 2])), function([5, 3, 2]))


@pytest.mark.parametrize("beta", [-0.1, 1.0001, 50, float("nan"), float("inf"), -float("inf")])
def test_beta_outside_zero_to_one_is_refused_with_its_value(beta):
    with pytest.raises(ValueError, match=rf"`beta` must be in \[0, 1\], got {float(beta)}"):
        cb_keras.effective_number([3, 2], beta)
    with pytest.raises(ValueError, match=rf"`beta` must be in \[0, 1\], got {float(beta)}"):
        cb_keras.class_balanced_weights([3, 2], beta)


@pytest.mark.parametrize("power", [float("nan"), float("inf"), -float("inf")])
def test_a_power_that_is_not_finite_is_refused_with_its_value(power):
    with pytest.raises(ValueError, match=f"`power` must be finite, got {power}"):
        cb_keras.class_balanced_weights([3, 2], power=power)


@pytest.mark.parametrize("name", ["beta", "power"])
@pytest.mark.parametrize("value", ["much", None, [[1, 2]], 10**400])
def test_beta_and_power_must_be_numbers(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be a number, "):
        cb_keras.class_balanced_weights([3, 2], **{name: value})


@pytest.mark.parametrize("value", ["0.9", True, np.True_, None, [0.9], np.array([0.9]), b"1"])
def test_texts_booleans_and_lists_are_not_numbers(value):
    for argument in ("beta", "power"):
        # Of beta there may be one for each class, of which a list of one is none.
        with pytest.raises(ValueError, match=f"`{argument}` must be a number, "):
            cb_keras.class_balanced_weights([3, 2, 1], **{argument: value})
    with pytest.raises(ValueError, match="`imbalance_factor` must be a number, got"):
        cb_keras.long_tailed_counts(3, 10, value)
    with pytest.raises(ValueError, match="`gamma` must be a finite number >= 0, got"):
        cb_keras.losses.ClassBalancedFocalCrossentropy([3, 2, 1], gamma=value)
    with pytest.raises(ValueError, match="`momentum` must be a number, got"):
        cb_keras.optimizers.MomentumSGD(0.1, momentum=value)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), keras.ops.ones(()) / 2])
def test_scalars_of_every_library_are_numbers(value):
    expected = cb_keras.class_balanced_weights([3, 2, 1], 0.5, 0.5)
    weights = cb_keras.class_balanced_weights([3, 2, 1], beta=value, power=value)
    np.testing.assert_array_equal(weights, expected)


def test_weights_need_no_cpu_among_the_devices_of_jax(monkeypatch):
    """As with JAX_PLATFORMS=cuda."""
    if keras.backend.backend() != "jax":
        pytest.skip("JAX can be without a CPU")
    import jax

    expected = cb_keras.class_balanced_weights([3, 2, 1])
    devices = jax.local_devices

    def without_cpu(*args, backend=None, **kwargs):
        if backend == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return devices(*args, **kwargs)

    monkeypatch.setattr(jax, "local_devices", without_cpu)
    np.testing.assert_array_equal(cb_keras.class_balanced_weights([3, 2, 1]), expected)
