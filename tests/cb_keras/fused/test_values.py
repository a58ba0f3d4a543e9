"""The fused op's losses and gradients: against float64, and against `cb_keras.functional`.

Logits of the size 100 make terms that no float32 can hold: sums of up to C of them may be missing.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cb_keras.cases import FORMULAS, LOSSES, every_formula
from tests.cb_keras.fused.cases import (
    ROUNDING,
    SMALLEST,
    expected,
    forms,
    logits_of,
    ours,
    problem,
    tf,
    weight_of,
)
from tests.cb_keras.gradients import value_and_gradient

pytestmark = pytest.mark.usefixtures("fused_op")

SIZES = [
    *((0, 1), (0, 10), (1, 10), (7, 10), (127, 1), (127, 2), (127, 10), (127, 16), (127, 17)),
    *((127, 31), (127, 33)),
    *((7, 1000), (7, 8142), (1, 100_003)),
]


@pytest.mark.parametrize(("rows", "classes"), SIZES)
@every_formula
def test_loss_and_gradient_are_the_float64_reference(kind, kwargs, rows, classes, rng):
    if classes == 1 and kind == "softmax":
        pytest.skip("class ids of a single output are refused")
    for form in forms(kind, classes):
        labels, logits, weights, targets, weight = problem(kind, form, rows, classes, rng)
        value, gradient = ours(kind, labels, logits, weights, **kwargs)
        loss, slope = expected(kind, logits, targets, weight, **kwargs)
        assert (value.dtype, gradient.dtype) == ("float32", "float32")
        tolerance = {"rtol": 1e-5, "atol": classes * SMALLEST, "err_msg": form}
        np.testing.assert_allclose(value, loss, **tolerance)
        np.testing.assert_allclose(gradient, slope, **tolerance)


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize(("rows", "classes"), [(127, 33), (7, 1000)])
@every_formula
def test_low_precision_logits_round_the_gradient_once_and_the_loss_not(
    kind, kwargs, rows, classes, dtype, rng
):
    relative, absolute = ROUNDING[dtype]
    for form in forms(kind, classes):
        labels, logits, weights, targets, weight = problem(kind, form, rows, classes, rng, dtype)
        value, gradient = ours(kind, labels, logits, weights, dtype=dtype, **kwargs)
        loss, slope = expected(kind, logits, targets, weight, **kwargs)
        assert (value.dtype, gradient.dtype) == ("float32", dtype)
        np.testing.assert_allclose(value, loss, rtol=1e-5, atol=classes * SMALLEST, err_msg=form)
        rounding = {"rtol": relative + 1e-5, "atol": absolute, "err_msg": form}
        np.testing.assert_allclose(gradient.astype("float64"), slope, **rounding)


@pytest.mark.parametrize("dtype", ROUNDING)
def test_every_number_of_a_low_precision_type_is_read_exactly(dtype):
    numpy_dtype = tf.as_dtype(dtype).as_numpy_dtype
    with np.errstate(invalid="ignore"):  # signalling NaN
        logits = np.arange(2**16, dtype="uint16").view(numpy_dtype).astype("float64")
    logits = logits[np.isfinite(logits)][:, None]
    targets = np.zeros_like(logits)
    value, gradient = ours("sigmoid", targets, logits, np.ones(1), dtype=dtype)
    loss, slope = expected("sigmoid", logits, targets, np.ones(len(logits)))
    np.testing.assert_allclose(value, loss, rtol=1e-5, atol=SMALLEST)
    relative, absolute = ROUNDING[dtype]
    rounding = {"rtol": relative + 1e-5, "atol": absolute}
    np.testing.assert_allclose(gradient.astype("float64"), slope, **rounding)


@pytest.mark.parametrize(("kind", "kwargs"), FORMULAS[1:])
def test_soft_labels_are_the_float64_reference(kind, kwargs, rng):
    logits, labels = logits_of(64, 33, rng), rng.uniform(0, 1, (64, 33)).astype("float32")
    weights = rng.uniform(0.1, 3, 33)
    value, gradient = ours(kind, labels, logits, weights, **kwargs)
    loss, slope = expected(kind, logits, labels, weight_of(labels, weights), **kwargs)
    np.testing.assert_allclose(value, loss, rtol=1e-5)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=3e-6)  # p - y cancels


@every_formula
def test_loss_and_gradient_are_finite_up_to_logits_of_ten_thousand(kind, kwargs):
    sizes = np.array([0, 1e-6, 1, 10, 50, 88, 89, 104, 500, 1e3, 1e4])
    z = np.concatenate([-sizes[::-1], sizes])
    logits = np.stack(np.meshgrid(z, z), axis=-1).reshape(-1, 2).astype("float32")
    targets = np.tile([1.0, 0.0], (len(logits), 1))
    loss, slope = expected(kind, logits.astype("float64"), targets, 1.0, **kwargs)
    for form in forms(kind, 2):
        labels = targets if form == "multi-hot" else np.zeros(len(logits), form)
        value, gradient = ours(kind, labels, logits, np.ones(2), **kwargs)
        np.testing.assert_allclose(value, loss, rtol=1e-5, atol=2 * SMALLEST)
        np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=2 * SMALLEST)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 2.0, 17.0, 50.0, 1e4])
@pytest.mark.parametrize("classes", [2, 20])  # few classes have kernels of their own
def test_focal_with_a_large_gamma_keeps_its_digits(classes, gamma):
    """1 - p_t is nearly 1 where the gradient is gamma times its complement."""
    z = np.concatenate([np.linspace(-20, 40, 241), [17.0, 60.0, 80.0]])
    logits = np.stack([-z, *[z] * (classes - 1)], axis=-1)  # all of them wrong where z > 0
    logits = logits.astype("float32").astype("float64")
    targets = np.eye(classes)[np.zeros(len(z), "int64")]
    loss, slope = expected("focal", logits, targets, 1.0, gamma)
    # In the power exp(-gamma log(1 + exp(-z))) gamma multiplies the logarithm's rounding errors.
    tolerance = 2e-6 + 1e-6 * gamma * np.log1p(np.exp(-np.abs(z)))
    for labels in (np.zeros(len(z), "int32"), targets):
        value, gradient = ours("focal", labels, logits, np.ones(classes), gamma)
        small = classes * (1 + gamma) * SMALLEST
        assert (np.abs(value - loss) <= tolerance * loss + small).all()
        error = np.abs(gradient - slope)
        assert (error <= tolerance[:, None] * np.abs(slope) + small).all()


@pytest.mark.parametrize(
    ("kind", "form", "dtype", "rows"),
    [
        *((kind, form, "float32", 1031) for kind in LOSSES for form in forms(kind, 2)[1:]),
        *(("softmax", "int64", "bfloat16", 2063), ("focal", "multi-hot", "bfloat16", 2063)),
    ],
)
def test_a_gradient_larger_than_the_caches_is_that_of_its_rows(kind, form, dtype, rows, rng):
    """Beyond 32 MiB it is stored in another way. Rows of odd length start at any byte."""
    logits = tf.cast(3 * rng.standard_normal((rows, 8143), "float32"), dtype)
    ids, weights = rng.integers(0, 8143, rows), rng.uniform(0.1, 3, 8143).astype("float32")
    labels = tf.one_hot(ids, 8143) if form == "multi-hot" else tf.constant(ids)

    def part(start, end):
        return ours(kind, labels[start:end], logits[start:end], weights, dtype=dtype)

    value, gradient = part(0, rows)
    assert gradient.nbytes > 32 * 2**20
    for start in range(0, rows, 700):
        some, slope = part(start, start + 700)
        np.testing.assert_array_equal(value[start : start + 700], some)
        np.testing.assert_array_equal(gradient[start : start + 700], slope)


@every_formula
@pytest.mark.parametrize("classes", [10, 100])  # few classes have kernels of their own
def test_a_row_is_the_same_whatever_rows_are_next_to_it(kind, kwargs, classes, rng):
    """Threads share the rows, so it is the same whatever their number."""
    for form in forms(kind, classes):
        labels, logits, weights, _, _ = problem(kind, form, 1000, classes, rng)
        value, gradient = ours(kind, labels, logits, weights, **kwargs)
        for i in (0, 1, 499, 500, 999):
            one, slope = ours(kind, labels[i : i + 1], logits[i : i + 1], weights, **kwargs)
            np.testing.assert_array_equal(value[i], one[0])
            np.testing.assert_array_equal(gradient[i], slope[0])


@st.composite
def problems(draw):
    """`kind`, labels, logits, weights, dtype of the logits, gamma."""
    kind, dtype = draw(st.sampled_from(list(LOSSES))), draw(st.sampled_from(["float32", *ROUNDING]))
    shape = (*draw(st.lists(st.integers(0, 5), max_size=3)), draw(st.integers(2, 70)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    logits = tf.cast(rng.normal(0, draw(st.sampled_from([0.1, 3, 10])), shape), dtype)
    form = draw(st.sampled_from(["ids", "ids with an axis", "multi-hot", "soft"]))
    if "ids" in form:
        ids_dtype = draw(st.sampled_from(["uint8", "int16", "int32", "int64", "uint32", "float32"]))
        labels = np.array(rng.integers(0, shape[-1], shape[:-1]), ids_dtype)
        labels = labels if form == "ids" else labels[..., None]
    else:
        labels = rng.uniform(0, 1, shape).round(0 if form == "multi-hot" else 3)
    gamma = draw(st.sampled_from([0.0, 1.0, 2.0]) | st.floats(0, 8)) if "focal" in kind else 0.0
    weights = rng.uniform(0, 2, shape[-1]).astype("float32")
    return kind, labels, logits.numpy().astype("float64"), weights, gamma, dtype


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(problems())
def test_any_problem_has_the_loss_and_gradient_of_keras_ops(problem):
    kind, labels, logits, weights, gamma, dtype = problem
    kwargs = {"gamma": gamma} if "focal" in kind else {}
    value, gradient = ours(kind, labels, logits, weights, gamma, dtype)
    loss, slope = value_and_gradient(
        lambda z: LOSSES[kind](labels, z, weights, **kwargs), logits, dtype
    )
    # A gradient of many-hot labels is a difference of terms as large as their sum.
    dense = labels.shape == logits.shape
    largest = float(labels.sum(-1).max(initial=1.0)) if dense else 1.0
    np.testing.assert_allclose(value, loss, rtol=2e-5, atol=1e-6 * largest)
    relative, absolute = ROUNDING.get(dtype, (0, 0))
    rounding = {"rtol": 2e-5 + 2 * relative, "atol": (2e-6 + 2 * absolute) * largest}
    np.testing.assert_allclose(gradient.astype("float64"), slope.astype("float64"), **rounding)
