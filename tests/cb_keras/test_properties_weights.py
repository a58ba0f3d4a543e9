"""Properties of the class weights, and of what makes them, for any numbers and anything else.

Effective numbers and weights are compared with mpmath's 60 digits.
"""

import json
import math
import warnings

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st
from keras import ops

import cb_keras
from cb_keras import checks, weights
from tests.cb_keras.cases import CLASSES, INTEGERS
from tests.cb_keras.properties import properties
from tests.cb_keras.reference import exact_effective_number, exact_weights

whole_numbers = st.one_of(
    st.integers(1, 5), st.integers(1, 10**9), st.sampled_from([2**24 + 1, 2**53 + 1, 2**62])
)
betas = st.one_of(
    st.sampled_from([0, 5e-324, 1e-300, 0.5, 1 - 2**-53, 1 - 2**-52, 1, np.float32(0.9999)]),
    st.floats(0, 1),
    st.floats(-16, -1).map(lambda exponent: 1 - 10**exponent),
)
powers = st.one_of(
    st.sampled_from([0, -0.0, 5e-324, 0.5, 1, -1, 2, 1e3, -1e3, 1e308, -1e308]), st.floats(-5, 5)
)


@st.composite
def counts_of_any_type(draw):
    """Whole numbers in a numpy array of a type that holds them, or as a list."""
    dtype = draw(st.sampled_from([*INTEGERS, "float16", "float32", "float64", None]))
    top = {"float16": 2**11, "float32": 2**24, "float64": 2**53, None: 2**62}
    top = top[dtype] if dtype in top else np.iinfo(dtype).max
    classes = draw(st.sampled_from([1, 2, 5]))
    numbers = whole_numbers.map(lambda n: min(n, int(top)))
    counts = draw(st.lists(numbers, min_size=classes, max_size=classes))
    return counts if dtype is None else np.array(counts, dtype)


@properties(150)
@given(counts_of_any_type(), betas)
def test_any_effective_number_has_six_digits_and_is_between_one_and_the_count(counts, beta):
    number = cb_keras.effective_number(counts, beta)
    expected = [float(exact_effective_number(int(n), float(beta))) for n in counts]
    np.testing.assert_allclose(number, expected, rtol=1e-6)
    assert (number >= 1 - 1e-12).all()
    assert (number <= np.array(counts, "float64") * (1 + 1e-12)).all()


@properties(200)
@given(counts_of_any_type(), betas, powers)
def test_any_weights_sum_to_the_number_of_classes_in_the_order_of_the_counts(counts, beta, power):
    result = cb_keras.class_balanced_weights(counts, beta, power)
    assert (result.dtype, result.shape) == (np.float32, (len(counts),))
    assert (np.isfinite(result) & (result >= 0)).all()
    np.testing.assert_allclose(result.sum(dtype="float64"), len(counts), rtol=1e-6)
    counts = np.array(counts, "float64")
    order = np.argsort(counts)
    steps = np.diff(result[order].astype("float64")) * (1 if power < 0 else -1)
    assert (steps >= -1e-6 * result[order][:-1]).all()
    for n in np.unique(counts):
        assert len(set(result[counts == n])) == 1


@properties(150)
@given(counts_of_any_type(), betas, st.sampled_from([0, 0.5, 1, -1, 2]) | st.floats(-5, 5))
def test_any_weights_have_six_digits(counts, beta, power):
    result = cb_keras.class_balanced_weights(counts, beta, power)
    expected = exact_weights([int(n) for n in counts], float(beta), power)
    np.testing.assert_allclose(result, expected, rtol=1e-6, atol=1e-37)


@properties(20)
@given(st.sampled_from(list(CLASSES)), counts_of_any_type(), betas, powers, st.floats(0, 1e30))
def test_any_loss_is_made_again_from_its_configuration(kind, counts, beta, power, gamma):
    assume(len(counts) > 1)  # one class is refused
    kwargs = {"gamma": gamma} if kind in ("focal", "softmax_focal") else {}
    loss = CLASSES[kind](counts, beta=beta, power=power, **kwargs)
    config = loss.get_config()
    again = CLASSES[kind].from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    np.testing.assert_array_equal(
        ops.convert_to_numpy(again.class_weights), ops.convert_to_numpy(loss.class_weights)
    )


anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**300), 10**300),
        st.floats(),
        st.complex_numbers(),
        st.text("09.-einfaX ", max_size=3),
        st.binary(max_size=3),
        st.sampled_from(["0.5", "nan", np.float16(1), np.array(0.5), object()]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.booleans(), inner),
    max_leaves=5,
)


@properties(300)
@given(anything)
def test_anything_is_a_number_in_its_range_or_refused(value):
    for check, right in (
        (checks.check_beta, lambda x: 0 <= x <= 1),
        (checks.check_power, math.isfinite),
        (checks.check_gamma, lambda x: math.isfinite(x) and x >= 0),
    ):
        message, number = "", None
        try:
            number = check(value)
        except ValueError as error:
            message = str(error)
        refused = message.startswith(f"`{check.__name__.removeprefix('check_')}` must be ")
        assert refused or (type(number) is float and right(number))


@properties(200)
@given(anything | st.lists(st.integers(0, 3) | st.floats() | st.none(), max_size=3))
def test_anything_is_class_counts_or_refused(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            counts = weights.check_class_counts(value)
        except ValueError:
            return
    assert counts.dtype == np.float64
    assert (counts.ndim, counts.size > 0) == (1, True)
    assert ((counts >= 1) & (counts == np.floor(counts)) & np.isfinite(counts)).all()
