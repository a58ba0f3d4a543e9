"""Effective numbers and class weights against mpmath's 60 digits."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cb_keras
from cb_keras import private_api, weights
from tests.cb_keras.gradients import BACKEND
from tests.cb_keras.reference import exact_effective_number, exact_weights

COUNTS = [1, 2, 3, *(10**k for k in range(1, 10))]
BETAS = [0, 1e-9, 0.1, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 - 1e-6, 1 - 1e-9, 1 - 1e-12, 1]
POWERS = [0, 0.5, 1, 2, -1, 3.7]
CIFAR = [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]


@pytest.mark.parametrize("beta", BETAS)
def test_effective_number_has_six_digits_up_to_a_billion_samples(beta):
    expected = [float(exact_effective_number(n, beta)) for n in COUNTS]
    number = cb_keras.effective_number(COUNTS, beta)
    assert number.dtype == np.float64
    np.testing.assert_allclose(number, expected, rtol=1e-6)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("beta", BETAS)
def test_weights_have_six_digits_up_to_a_billion_samples(beta, power):
    result = cb_keras.class_balanced_weights(COUNTS, beta, power)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, exact_weights(COUNTS, beta, power), rtol=1e-6)


def test_every_class_may_have_a_beta_of_its_own():
    counts, betas = CIFAR[:6], [0, 0.9, 0.999, 1 - 1e-6, 1 - 1e-12, 1]
    exact = [exact_effective_number(n, b) for n, b in zip(counts, betas, strict=True)]
    expected = np.array([float(number) for number in exact])
    np.testing.assert_allclose(cb_keras.effective_number(counts, betas), expected, rtol=1e-6)
    raw = expected**-1.5
    by_class = cb_keras.class_balanced_weights(counts, dict(enumerate(betas)), 1.5)
    np.testing.assert_allclose(by_class, 6 * raw / raw.sum(), rtol=1e-6)
    by_examples = cb_keras.class_balanced_weights(counts, betas, 1.5, normalize="examples")
    np.testing.assert_allclose(by_examples, raw * sum(counts) / (raw @ counts), rtol=1e-6)
    emptied = cb_keras.class_balanced_weights([0, *counts[1:]], betas, 1.5, empty="zero")
    np.testing.assert_allclose(emptied, np.r_[0, 5 * raw[1:] / raw[1:].sum()], rtol=1e-6)
    for function in (cb_keras.effective_number, cb_keras.class_balanced_weights):
        with pytest.raises(ValueError, match=r"one for each of the 6 classes, got shape \(2,\)"):
            function(counts, [0.9, 0.9])
        with pytest.raises(ValueError, match=r"`beta` must be in \[0, 1\], got 1.5"):
            function(counts, [*betas[:5], 1.5])


def textbook(count, beta, dtype):
    one, count, beta = (np.dtype(dtype).type(x) for x in (1, count, beta))
    with np.errstate(invalid="ignore"):
        return float((one - beta**count) / (one - beta))


@pytest.mark.parametrize(
    ("dtype", "beta", "count", "error"),
    [
        ("float32", 0.9999, 10**9, 1e-4),  # 1 - beta keeps four digits
        ("float32", 1 - 1e-9, 10, np.inf),  # beta rounds to 1: 0 / 0
        ("float64", 1 - 1e-9, 10, 4e-9),  # half the digits
        ("float64", 1, 10, np.inf),
    ],
)
def test_the_textbook_formula_loses_digits_that_ours_keeps(dtype, beta, count, error):
    exact = float(exact_effective_number(count, beta))
    assert not abs(textbook(count, beta, dtype) / exact - 1) < error  # NaN is not below anything
    np.testing.assert_allclose(cb_keras.effective_number([count], beta), exact, rtol=1e-12)


def test_effective_number_by_hand():
    # E_3 = 1 + beta + beta^2 = 1 + 0.5 + 0.25
    np.testing.assert_allclose(cb_keras.effective_number([1, 2, 3], 0.5), [1, 1.5, 1.75])


def test_weights_by_hand():
    # 1/E = 1, 2/3, 4/7 = 21/21, 14/21, 12/21, scaled to the sum 3.
    result = cb_keras.class_balanced_weights([1, 2, 3], beta=0.5)
    np.testing.assert_allclose(result, np.array([21, 14, 12]) * 3 / 47, rtol=1e-6)


def test_beta_one_is_inverse_frequency():
    np.testing.assert_array_equal(cb_keras.effective_number(COUNTS, 1), COUNTS)
    inverse = 1 / np.array(CIFAR)
    result = cb_keras.class_balanced_weights(CIFAR, beta=1)
    np.testing.assert_allclose(result, 10 * inverse / inverse.sum(), rtol=1e-7)


def test_beta_zero_and_power_zero_weigh_every_class_one():
    np.testing.assert_array_equal(cb_keras.class_balanced_weights(CIFAR, beta=0), np.ones(10))
    np.testing.assert_array_equal(cb_keras.class_balanced_weights(CIFAR, power=0), np.ones(10))


@pytest.mark.parametrize("power", [0, 0.5, 1, 2, -1, 3.7, 1e6, -1e6, 1e300, -1e300])
def test_weights_of_any_power_sum_to_the_number_of_classes(power):
    result = cb_keras.class_balanced_weights(CIFAR, power=power)
    assert result.dtype == np.float32
    assert result.shape == (10,)
    np.testing.assert_allclose(result.sum(dtype="float64"), 10, rtol=1e-6)


def test_a_huge_power_leaves_the_rarest_class_and_a_huge_negative_one_the_largest():
    first, last = np.zeros(10), np.zeros(10)
    first[0] = last[9] = 10
    np.testing.assert_array_equal(cb_keras.class_balanced_weights(CIFAR, power=1e6), last)
    np.testing.assert_array_equal(cb_keras.class_balanced_weights(CIFAR, power=-1e6), first)


def test_one_class_has_weight_one():
    np.testing.assert_array_equal(cb_keras.class_balanced_weights([7]), [1])


five_counts = st.lists(st.integers(1, 10**9), min_size=5, max_size=5)  # one size: one compilation
betas = st.one_of(st.floats(0, 1), st.floats(1e-12, 1e-2).map(lambda distance: 1 - distance))


@settings(deadline=None, max_examples=60)
@given(five_counts, betas, st.floats(0.01, 5))
def test_a_rarer_class_never_weighs_less(counts, beta, power):
    order = np.argsort(counts)
    result = cb_keras.class_balanced_weights(counts, beta, power)[order]
    assert (np.diff(result) <= 1e-6 * result[:-1]).all()
    mirrored = cb_keras.class_balanced_weights(counts, beta, -power)[order]
    assert (np.diff(mirrored) >= -1e-6 * mirrored[:-1]).all()


@settings(deadline=None, max_examples=60)
@given(five_counts, betas, st.floats(-2, 2), st.permutations(range(5)))
def test_weights_follow_the_order_of_the_classes(counts, beta, power, order):
    result = cb_keras.class_balanced_weights(counts, beta, power)
    reordered = cb_keras.class_balanced_weights(np.array(counts)[order], beta, power)
    np.testing.assert_allclose(reordered, result[order], rtol=1e-6)


@settings(deadline=None, max_examples=60)
@given(five_counts, betas, st.floats(-3, 3))
def test_ratios_of_weights_are_powers_of_ratios_of_effective_numbers(counts, beta, power):
    number = cb_keras.effective_number(counts, beta)
    result = cb_keras.class_balanced_weights(counts, beta, power).astype("float64")
    np.testing.assert_allclose(result.sum(), 5, rtol=1e-6)
    np.testing.assert_allclose(result / result[0], (number / number[0]) ** -power, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 10**6), min_size=5, max_size=5), st.integers(2, 1000))
def test_inverse_frequency_does_not_change_with_the_size_of_the_data_set(counts, factor):
    scaled = cb_keras.class_balanced_weights(np.array(counts) * factor, beta=1)
    np.testing.assert_allclose(scaled, cb_keras.class_balanced_weights(counts, beta=1), rtol=1e-6)


@pytest.mark.parametrize("function", [weights._effective_number, weights._class_balanced_weights])
def test_the_arithmetic_is_compiled_by_xla(function):
    backend = keras.backend.backend()
    if backend == "torch":
        pytest.skip("Keras compiles nothing on PyTorch")
    cb_keras.effective_number(CIFAR, 0.9)
    cb_keras.class_balanced_weights(CIFAR)
    args = [np.array(CIFAR, "float64"), np.float64(0.9), np.float64(1)]
    args = args[: function.__code__.co_argcount]
    ranks = tuple(arg.ndim for arg in args)
    compiled = weights._compiled(function, backend, ranks)
    assert compiled is weights._compiled(function, backend, ranks)
    if backend == "tensorflow":
        import tensorflow as tf

        assert compiled.experimental_get_tracing_count() > 0  # the calls above went through it
        with tf.device("CPU:0"):
            tensors = [tf.constant(arg) for arg in args]
            ir = compiled.experimental_get_compiler_ir(*tensors)(stage="hlo")  # only of XLA's
        assert "HloModule" in ir
        assert "f64[10]" in ir
    else:
        assert compiled._cache_size() > 0  # the calls above went through it
        with private_api.jax_float64():
            assert "HloModule" in compiled.lower(*args).compile().as_text()


def test_weights_are_computed_while_a_function_is_traced():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("tf.function")
    import tensorflow as tf

    traced = []

    @tf.function
    def step(x):
        traced.append(cb_keras.class_balanced_weights(CIFAR))
        return x * traced[-1]

    product = step(tf.ones(10)).numpy()
    np.testing.assert_array_equal(traced[0], cb_keras.class_balanced_weights(CIFAR))
    np.testing.assert_array_equal(product, traced[0])


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own warning")
def test_other_numbers_of_classes_do_not_trace_anew(caplog):
    for number in range(2, 12):
        cb_keras.class_balanced_weights(range(1, number + 1), 0.9)
    assert "retracing" not in caplog.text


@pytest.mark.skipif(BACKEND != "torch", reason="a matter of PyTorch")
def test_weights_and_losses_are_made_inside_of_transforms_and_compiled_functions():
    import torch

    labels, logits = torch.tensor([0, 1, 2, 1]), torch.arange(12.0).reshape(4, 3) % 5

    def of_weights(logits):
        weights = cb_keras.class_balanced_weights([9, 5, 2])
        return cb_keras.functional.class_balanced_softmax_crossentropy(
            labels, logits, weights
        ).mean()

    def of_loss(logits):
        return cb_keras.losses.ClassBalancedSoftmaxCrossentropy([9, 5, 2])(labels, logits)

    variable = logits.clone().requires_grad_()
    of_weights(variable).backward()
    for function in (of_weights, of_loss):
        for derivative in (torch.func.grad, torch.func.jacrev, torch.func.jacfwd):
            torch.testing.assert_close(derivative(function)(logits), variable.grad)
        torch.testing.assert_close(torch.compile(function)(logits), of_weights(logits))


@pytest.mark.skipif(BACKEND != "torch", reason="a matter of PyTorch")
def test_a_loss_that_is_made_in_inference_mode_is_trained_with():
    import torch

    labels, logits = torch.tensor([0, 1, 2, 1]), torch.arange(12.0).reshape(4, 3) % 5
    outside = cb_keras.losses.ClassBalancedSoftmaxCrossentropy([9, 5, 2])
    with torch.inference_mode():
        inside = cb_keras.losses.ClassBalancedSoftmaxCrossentropy([9, 5, 2])
        assert torch.is_inference_mode_enabled()
    slopes = []
    for loss in (outside, inside):
        variable = logits.clone().requires_grad_()
        loss(labels, variable).backward()
        slopes.append(variable.grad)
    torch.testing.assert_close(*slopes)
