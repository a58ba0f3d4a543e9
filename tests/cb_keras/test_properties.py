"""Properties of the losses that hold for any shape, type, form of labels and size of numbers.

Losses and gradients are compared with `reference.py`'s in float64. The examples are the same in
every run; only a few shapes are used, since each costs a compilation.
"""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras import ops

from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, INTEGERS, LOSSES
from tests.cb_keras.gradients import BACKEND, float64_enabled, value_and_gradient
from tests.cb_keras.properties import FLOATS, properties

pytestmark = pytest.mark.slow
LEADING = [(), (0,), (5,), (2, 3)]
CLASS_NUMBERS = [2, 3, 33]
if BACKEND == "jax":  # which compiles for each shape
    LEADING, CLASS_NUMBERS = [(5,), (2, 3)], [3]
else:
    LEADING += [(1,), (2, 0, 3), (1, 2, 2, 3)]
INFINITE = [math.inf, -math.inf, -math.inf, math.nan]
EXTREME = [0.0, -0.0, 1e-6, -1e-6, 1.0, -1.0, 88.0, -89.0, 104.0, -104.0, 1e4, -1e4]
# Half a unit in the last place of a gradient.
ROUNDING = {"float16": 2**-11, "bfloat16": 2**-8, "float32": 0, "float64": 0}
# What float64 is more exact than float32; PyTorch's softplus(x) is x from 20 on.
DOUBLE = 1e-2 if BACKEND == "torch" else 1e-9


@st.composite
def problems(
    draw, kinds=tuple(CLASSES), dtypes=FLOATS, leading=LEADING, sizes=(0.1, 3, 30, "extreme")
):
    """Keyword arguments of `evaluated`, and the dense targets and weights of the reference."""
    kind, dtype = draw(st.sampled_from(kinds)), draw(st.sampled_from(dtypes))
    shape = (*draw(st.sampled_from(leading)), draw(st.sampled_from(CLASS_NUMBERS)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from(sizes))
    if size == "extreme":
        logits = rng.choice(EXTREME, shape)
    elif size == "infinite":
        logits = rng.choice(INFINITE + EXTREME, shape)
    else:
        logits = rng.normal(0, size, shape)
    classes = shape[-1]
    forms = ["one-hot", "soft", "multi-hot"]
    form = draw(st.sampled_from([*forms, "ids", "ids with an axis"]))
    ids = rng.integers(0, classes, shape[:-1])
    targets = reference.one_hot(ids, classes)
    if form in ("ids", "ids with an axis"):
        label_dtype = draw(st.sampled_from([*INTEGERS, "float32", "float64"]))
        labels = ids if form == "ids" else ids[..., None]
    elif form == "soft":
        label_dtype = draw(st.sampled_from(FLOATS))
        labels = targets = rng.integers(0, 65, shape) / 64
    else:
        label_dtype = draw(st.sampled_from([*INTEGERS, *FLOATS, "bool"]))
        if form == "multi-hot":
            targets = rng.integers(0, 2, shape)
        labels = targets
    class_weights = rng.uniform(0.1, 3, classes).astype("float32")
    gamma = draw(st.sampled_from([0.0, 1e-6, 0.5, 1.0, 2.0, 100.0]) | st.floats(0, 8))
    problem = {
        "kind": kind,
        "labels": cast(labels, label_dtype),
        "logits": rounded(logits, dtype),
        "class_weights": class_weights,
        "gamma": gamma if "focal" in kind else 0.0,
        "dtype": dtype,
    }
    return problem, targets.astype("float64")


def cast(array, dtype):
    if dtype == "bfloat16":
        return ops.cast(np.asarray(array, "float32"), dtype)
    return np.asarray(array).astype(dtype)


def rounded(logits, dtype):
    """Float64 logits that `dtype` can hold."""
    with float64_enabled(dtype):
        return ops.convert_to_numpy(ops.cast(ops.cast(logits, dtype), "float64")).astype("float64")


def evaluated(kind, labels, logits, class_weights, gamma, dtype, by="class"):
    """Loss and gradient as numpy arrays, by the loss class or by `cb_keras.functional`."""
    kwargs = {"gamma": gamma} if "focal" in kind else {}

    def by_class(z):
        own = "float64" if dtype == "float64" else None
        loss = CLASSES[kind](class_weights=class_weights, reduction=None, dtype=own, **kwargs)
        return loss(labels, z)

    def by_function(z):
        return LOSSES[kind](labels, z, class_weights, **kwargs)

    return value_and_gradient(by_class if by == "class" else by_function, logits, dtype)


def targets_and_weight(kind, targets, class_weights):
    """Of dense labels as the reference takes them: weighted ones, or those with their mean weight.

    Where a row has no labels that is the mean of all weights.
    """
    class_weights = class_weights.astype("float64")
    if kind.startswith("softmax"):
        return targets * class_weights, np.ones(targets.shape[:-1])
    total = targets.sum(-1)
    average = targets @ class_weights / np.where(total > 0, total, 1)
    return targets, np.where(total > 0, average, class_weights.mean())


def assert_as_the_reference(problem, targets, value, slope):
    kind, logits, dtype = problem["kind"], problem["logits"], problem["dtype"]
    targets, weight = targets_and_weight(kind, targets, problem["class_weights"])
    loss = reference.loss(kind, logits, targets, weight, problem["gamma"])
    gradient = reference.gradient(kind, logits, targets, weight, problem["gamma"])
    assert (value.dtype, slope.dtype) == ("float64" if dtype == "float64" else "float32", dtype)
    assert (value.shape, slope.shape) == (loss.shape, logits.shape)
    one = DOUBLE if dtype == "float64" else 1.0
    classes = logits.shape[-1]
    np.testing.assert_allclose(value, loss, rtol=2e-5 * one, atol=1e-6 * one * classes)
    tolerance = {"rtol": 2e-5 * one + ROUNDING[dtype], "atol": 1e-6 * one * classes}
    np.testing.assert_allclose(slope.astype("float64"), gradient, **tolerance)


@properties(150)
@given(problems())
def test_any_loss_and_gradient_are_the_float64_reference(both_ways, case):
    problem, targets = case
    assert_as_the_reference(problem, targets, *evaluated(**problem))


@properties(100)
@given(problems())
def test_any_loss_and_gradient_by_a_function_are_the_float64_reference(case):
    problem, targets = case
    assert_as_the_reference(problem, targets, *evaluated(**problem, by="function"))


def plain(problem, **changes):
    return evaluated(**{**problem, **changes})[0]


some_examples = problems(dtypes=["float32"], leading=[(5,), (2, 3)])


@properties(50)
@given(some_examples, st.randoms(use_true_random=False))
def test_losses_follow_the_order_of_the_examples(both_ways, case, random):
    problem, _ = case
    order = random.sample(range(len(problem["logits"])), len(problem["logits"]))
    labels = np.asarray(ops.convert_to_numpy(problem["labels"]))[order]
    value, slope = evaluated(**problem)
    other_value, other_slope = evaluated(
        **{**problem, "labels": labels, "logits": problem["logits"][order]}
    )
    np.testing.assert_allclose(other_value, value[order], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(other_slope, slope[order], rtol=1e-6, atol=1e-6)


@properties(50)
@given(some_examples, st.randoms(use_true_random=False))
def test_losses_do_not_depend_on_the_order_of_the_classes(both_ways, case, random):
    problem, _ = case
    classes = problem["logits"].shape[-1]
    order = random.sample(range(classes), classes)
    labels = np.asarray(ops.convert_to_numpy(problem["labels"]))
    if labels.shape == problem["logits"].shape:
        labels = labels[..., order]
    else:
        labels = np.argsort(order)[labels.astype("int64")]
    value = plain(
        problem,
        labels=labels,
        logits=problem["logits"][..., order],
        class_weights=problem["class_weights"][order],
    )
    np.testing.assert_allclose(value, plain(problem), rtol=1e-5, atol=1e-6 * classes)


@properties(50)
@given(problems(kinds=["softmax"], dtypes=["float32"]), st.integers(-1000, 1000))
def test_a_constant_added_to_all_logits_does_not_change_the_softmax_loss(both_ways, case, shift):
    problem, _ = case
    # Whole numbers below 2^24 are exact, so only the constant changes.
    logits = np.rint(problem["logits"])
    value = plain(problem, logits=logits)
    shifted = plain(problem, logits=logits + shift)
    np.testing.assert_allclose(shifted, value, rtol=1e-6, atol=1e-6 * logits.shape[-1])


@properties(50)
@given(problems(), st.integers(-20, 20))
def test_losses_scale_with_the_class_weights(both_ways, case, exponent):
    problem, _ = case
    scaled = plain(problem, class_weights=problem["class_weights"] * np.float32(2**exponent))
    expected = plain(problem) * 2.0**exponent
    np.testing.assert_allclose(scaled, expected, rtol=1e-6, atol=1e-37)


@st.composite
def ids_of_any_value(draw, dtype):
    """Eight class ids for 3 classes, some of which are none, exact in `dtype`."""
    if dtype in ("float32", "float64"):
        odd = [-1.0, 3.0, 0.5, -0.25, 1e30, math.inf, -math.inf, math.nan]
    else:
        limits = np.iinfo(dtype)
        odd = [v for v in (-1, 3, 2**31, limits.min, limits.max) if limits.min <= v <= limits.max]
        if BACKEND == "jax":  # which wraps 64-bit integers to 32 bits
            odd = [v for v in odd if v < 2**31] if "64" in dtype else odd
            odd = [v for v in odd if v >= -(2**31)]
    ids = draw(st.lists(st.sampled_from([0, 1, 2] * len(odd) + odd), min_size=8, max_size=8))
    return np.array(ids, dtype)


@properties(100)
@given(st.data(), st.sampled_from(list(LOSSES)))
def test_only_an_example_whose_label_is_not_a_class_gets_nan(both_ways, unseen, data, kind):
    dtype = data.draw(st.sampled_from([*INTEGERS, "float32", "float64"]))
    ids = data.draw(ids_of_any_value(dtype))
    rng = np.random.default_rng(0)
    problem = {
        "kind": kind,
        "labels": ids,
        "logits": rng.normal(0, 3, (8, 3)),
        "class_weights": rng.uniform(0.1, 3, 3).astype("float32"),
        "gamma": 1.0 if kind == "focal" else 0.0,
        "dtype": "float32",
    }
    valid = np.isin(ids, [0, 1, 2])
    if both_ways == "fused op" and not valid.all():
        import tensorflow as tf

        refused = pytest.raises(tf.errors.InvalidArgumentError, match="which is not a class")
        with tf.device("CPU:0"), refused:
            evaluated(**problem)
        return
    value, slope = evaluated(**problem)
    np.testing.assert_array_equal(np.isnan(value), ~valid)
    np.testing.assert_array_equal(np.isnan(slope).any(-1), ~valid)
    kept = {**problem, "labels": ids[valid], "logits": problem["logits"][valid]}
    targets = reference.one_hot(ids[valid], 3)
    assert_as_the_reference(kept, targets, value[valid], slope[valid])


@properties(150)
@given(problems(sizes=["infinite"]))
def test_infinite_logits_give_limits_and_nan_stays_in_its_example(both_ways, case):
    problem, targets = case
    kind, logits, gamma = problem["kind"], problem["logits"], problem["gamma"]
    value, slope = evaluated(**problem)
    targets, weight = targets_and_weight(kind, targets, problem["class_weights"])
    large = np.nan_to_num(logits, nan=math.nan, posinf=1e30, neginf=-1e30)
    expected = reference.loss(kind, large, targets, weight, gamma)
    expected = np.where(expected > 1e20, math.inf, expected)
    known = np.ones(value.shape, bool)
    if kind in ("softmax", "softmax_focal"):  # Several infinite logits have no limit.
        known = ~((logits == math.inf).any(-1) | (logits == -math.inf).all(-1))
        # Without any label the loss is 0, or NaN where a logit is.
        known &= (targets.sum(-1) > 0) | np.isfinite(logits).all(-1)
    if kind == "softmax":
        assert not np.isfinite(value[~known & (targets.sum(-1) > 0)]).any()
    np.testing.assert_allclose(value[known], expected[known], rtol=2e-5, atol=1e-4)
    finite = known & np.isfinite(expected)
    gradient = reference.gradient(kind, large, targets, weight, gamma)[finite]
    tolerance = {"rtol": 2e-5 + ROUNDING[problem["dtype"]], "atol": 1e-4}
    np.testing.assert_allclose(slope[finite].astype("float64"), gradient, **tolerance)


sizes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@properties(200)
@given(
    st.sampled_from(list(LOSSES)),
    sizes,
    st.sampled_from([2, 3]),  # one output has tests of its own: the losses refuse one class
    st.sampled_from(["ids", "axis", "dense"]) | sizes,
    st.sampled_from([*INTEGERS, *FLOATS, "bool"]),
)
def test_any_two_shapes_fit_or_are_refused(both_ways, kind, leading, classes, labels, dtype):
    predictions = (*leading, classes)
    known = {"ids": leading, "axis": (*leading, 1), "dense": predictions}
    labels = known.get(labels, labels)
    sparse = labels != predictions
    fit = labels in known.values()
    if sparse and dtype in ("float16", "bfloat16", "bool"):
        fit = False
    loss = CLASSES[kind](class_weights=np.ones(classes), reduction=None)
    y_true, y_pred = cast(np.zeros(labels), dtype), np.zeros(predictions, "float32")
    if not fit:
        with pytest.raises(ValueError, match=r"`y_true`|`y_pred`"):
            loss(y_true, y_pred)
        with pytest.raises(ValueError, match=r"`y_true`|`y_pred`"):
            LOSSES[kind](y_true, y_pred)
        return
    value = ops.convert_to_numpy(loss(y_true, y_pred))
    assert value.shape == leading
    # Every class has p = 1/C (softmax) or 1/2; the focal loss halves each of its terms.
    each = np.log(classes) if sparse else 0
    if kind == "softmax_focal":
        each *= (1 - 1 / classes) ** 2
    elif kind != "softmax":
        each = classes * np.log(2) * (0.5 if kind == "focal" else 1)
    np.testing.assert_allclose(value, np.full(leading, each), rtol=1e-6)
