"""The fused op and labels of every kind, NaN and masked logits, and inputs that it refuses."""

import functools

import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras import reference
from tests.cb_keras.cases import IDS, INTEGERS, LOGITS, TARGETS, WEIGHTS, kinds
from tests.cb_keras.fused.cases import forms, ours, problem, raw_ops, tf
from tests.cb_keras.gradients import value_and_gradient

pytestmark = pytest.mark.usefixtures("fused_op")

InvalidArgument = tf.errors.InvalidArgumentError
dense_kinds = pytest.mark.parametrize("kind", ["sigmoid", "focal"])


def loss(kind, labels, logits=LOGITS, weights=WEIGHTS, gamma=1.0):
    return fused.crossentropy(kind, labels, tf.constant(logits, "float32"), weights, gamma)


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@kinds
def test_class_ids_of_every_type_and_shape(kind, shape, dtype):
    expected = reference.loss(kind, LOGITS, TARGETS, WEIGHTS[IDS])
    value = loss(kind, IDS.astype(dtype).reshape(shape))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool", "float16", "bfloat16", "float32", "float64"])
@dense_kinds
def test_multi_hot_labels_of_every_type(kind, dtype):
    multi = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 0, 1]])
    # By hand from the weights 0.2, 0.7, 2.1; no label at all: the mean of all weights.
    expected = reference.loss(kind, LOGITS, multi, np.array([0.45, 1.0, 1.0, 2.1]))
    np.testing.assert_allclose(loss(kind, tf.cast(multi, dtype)), expected, rtol=1e-6)


@pytest.mark.parametrize("labels_shape", [(2, 3, 4), (2, 3, 4, 1), (2, 3, 4, 5)])
@pytest.mark.parametrize("run", [lambda f: f, tf.function], ids=["eager", "graph"])
@kinds
def test_leading_dimensions_are_kept(kind, run, labels_shape, rng):
    logits, ids = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 5, (2, 3, 4))
    weights, targets = rng.uniform(0.5, 2, 5), reference.one_hot(ids, 5)
    labels = targets if labels_shape[-1] == 5 else ids.reshape(labels_shape)
    value, gradient = value_and_gradient(
        run(lambda z: fused.crossentropy(kind, labels, z, weights, 1.0)), logits
    )
    expected = reference.loss(kind, logits, targets, weights[ids])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    slope = reference.gradient(kind, logits, targets, weights[ids])
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-6)


@kinds
def test_a_scalar_label_of_a_vector_of_logits(kind):
    value = loss(kind, 1, LOGITS[1])
    assert value.shape == ()
    expected = reference.loss(kind, LOGITS[1], TARGETS[1], WEIGHTS[IDS[1]])
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@kinds
def test_sizes_unknown_while_tracing_stay_unknown(kind):
    function = tf.function(
        lambda y, z: fused.crossentropy(kind, y, z, WEIGHTS, 1.0),
        input_signature=[
            tf.TensorSpec((None, None), "int64"),
            tf.TensorSpec((None, None, 3), "float32"),
        ],
    )
    assert function.get_concrete_function().output_shapes.as_list() == [None, None]
    expected = reference.loss(kind, LOGITS, TARGETS, WEIGHTS[IDS]).reshape(2, 2)
    value = function(IDS.reshape(2, 2), LOGITS.reshape(2, 2, 3).astype("float32"))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("column", [0, 5, 31, 32])
@kinds
def test_a_nan_logit_gives_nan_to_its_row_or_element_and_leaves_the_others_alone(
    kind, column, dtype, rng
):
    for form in forms(kind, 33):
        labels, logits, weights, _, _ = problem(kind, form, 5, 33, rng, dtype)
        if form != "multi-hot":
            labels[2] = column if form == "int32" else 7  # the label's own logit, or another's
        value, gradient = ours(kind, labels, logits, weights, dtype=dtype)
        logits[2, column] = np.nan
        bad_value, bad_gradient = ours(kind, labels, logits, weights, dtype=dtype)
        value[2] = gradient[2, column] = np.nan
        if kind == "softmax":
            gradient[2] = np.nan
        np.testing.assert_array_equal(bad_value, value)
        np.testing.assert_array_equal(bad_gradient.astype("float32"), gradient.astype("float32"))


@pytest.mark.parametrize(
    ("masked", "dtype"),
    [
        *((-np.inf, "float32"), (-np.inf, "bfloat16"), (-np.inf, "float16")),
        *((-1e9, "float32"), (-1e9, "bfloat16"), (-6e4, "float16")),
    ],
)
def test_masked_classes_of_softmax_have_no_gradient_and_no_part_in_the_loss(masked, dtype, rng):
    ids, logits, weights, _, _ = problem("softmax", "int32", 6, 40, rng, dtype)
    kept = np.setdiff1d(np.arange(40), [0, 3, 17, 38, 39])
    ids = rng.integers(0, len(kept), 6)
    value, gradient = ours("softmax", ids, logits[:, kept], weights[kept], dtype=dtype)
    logits[:, np.setdiff1d(np.arange(40), kept)] = masked
    all_values, all_gradients = ours("softmax", kept[ids], logits, weights, dtype=dtype)
    np.testing.assert_allclose(all_values, value, rtol=1e-6)
    np.testing.assert_allclose(
        all_gradients[:, kept].astype("float64"), gradient.astype("float64"), rtol=1e-6
    )
    assert (np.delete(all_gradients, kept, axis=1) == 0).all()


@kinds
def test_a_class_of_weight_zero_costs_nothing_and_has_no_gradient(kind, rng):
    value, gradient = ours(kind, [0, 1], rng.normal(size=(2, 3)), np.array([0.0, 1, 1]))
    assert value[0] == 0
    assert (gradient[0] == 0).all()
    assert value[1] > 0


@pytest.mark.parametrize("logit", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("classes", [3, 33])  # few classes have kernels of their own
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@kinds
def test_a_row_of_weight_zero_is_zero_whatever_its_logits(kind, dtype, classes, logit, rng):
    weights = rng.uniform(0.5, 2, classes)
    weights[1] = 0
    for form in forms(kind, classes):
        logits = rng.normal(size=(4, classes))
        ids = np.array([0, 1, 2, 1])
        labels = reference.one_hot(ids, classes) if form == "multi-hot" else ids.astype(form)
        others, slopes = ours(kind, labels, logits, weights, dtype=dtype)
        logits[1], logits[3, 1] = logit, logit
        value, gradient = ours(kind, labels, logits, weights, dtype=dtype)
        assert value[1] == value[3] == 0
        assert (gradient[[1, 3]] == 0).all()
        np.testing.assert_array_equal(value[[0, 2]], others[[0, 2]])
        np.testing.assert_array_equal(gradient[[0, 2]], slopes[[0, 2]])


@pytest.mark.parametrize("tape", [False, True], ids=["loss alone", "with gradient"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 2, -1, 9], "int32"), r"holds -1 at position \[2\], .*\[0, 3\)"),
        (np.array([0, 2, 1, 3], "int64"), r"holds 3 at position \[3\], .*with 3 outp.*\[0, 3\)"),
        (np.array([0, 2**40, 1, 3], "int64"), r"holds 1099511627776 at position \[1\]"),
        (np.array([0, 2**32 + 1, 1, 0], "uint64"), r"holds 4294967297 at position \[1\]"),
        (np.array([0, 2**32 - 1, 1, 0], "uint32"), r"holds 4294967295 at position \[1\]"),
        (np.array([200, 2, 1, 0], "uint8"), r"holds 200 at position \[0\]"),
        (np.array([0, 2, 7.0, 0], "float32"), r"holds 7 at position \[2\]"),
        (np.array([0, 2**63 + 5, 1, 0], "uint64"), r"holds 9223372036854775813 at position \[1\],"),
        (np.array([0, 2, 1.5, 0], "float32"), r"holds 1\.5 .*a whole number in \[0, 3\)"),
        (np.array([0, 2, -0.1, 0], "float32"), r"holds -0\.1 at position \[2\],"),
        (np.array([0, 2, 1234567, 0], "float32"), r"holds 1234567 at position \[2\],"),
        (np.array([0, 2, np.nan, 0], "float32"), r"holds -?nan at position \[2\],"),
        (np.array([0, 2, -np.inf, 0], "float32"), r"holds -inf at position \[2\],"),
        (np.array([0, 2, 1e20, 0], "float32"), r"holds 1e\+20 at position \[2\],"),
        (np.array([0, 2, 1 + 1e-12, 0], "float64"), r"holds 1\.000000000001 at position \[2\],"),
        (np.array([[0], [2], [1.5], [0]], "float64"), r"holds 1\.5 at position \[2\],"),
        (np.array([[0, 2], [1, 5]], "int32"), r"holds 5 at position \[3\]"),  # of the flat labels
    ],
    ids=lambda value: str(value) if isinstance(value, np.ndarray) else "",
)
@kinds
def test_a_label_that_is_not_a_class_is_refused_by_position_and_value(kind, labels, message, tape):
    logits = LOGITS.reshape(*labels.shape, 3)
    with tf.device("CPU:0"), pytest.raises(InvalidArgument, match=message):
        ours(kind, labels, logits, WEIGHTS) if tape else loss(kind, labels, logits)


@pytest.mark.parametrize("classes", [3, 33])
@kinds
def test_of_many_invalid_labels_the_first_is_named(kind, classes):
    """Threads share the rows, and each finds some."""
    labels = np.arange(200_000) % 3
    labels[70_001::1000] = -7
    labels[70_001] = 99
    with (
        tf.device("CPU:0"),
        pytest.raises(InvalidArgument, match=r"holds 99 at position \[70001\],"),
    ):
        loss(kind, labels, np.zeros((len(labels), classes)), np.ones(classes))


@kinds
def test_a_label_that_is_not_a_class_is_refused_in_a_graph(kind):
    with tf.device("CPU:0"), pytest.raises(InvalidArgument, match=r"holds 3 at position \[1\]"):
        tf.function(lambda labels: loss(kind, labels))(tf.constant([0, 3, 1, 2]))


@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "message"),
    [
        ((4, 2), (4, 3), 3, r"`y_true` has shape \(4, 2\).*`y_pred` of shape \(4, 3\)"),
        ((5,), (4, 3), 3, r"`y_true` has shape \(5,\).*`y_pred` of shape \(4, 3\)"),
        ((4,), (4, 3), 4, r"`y_pred` has 3 classes \(shape \(4, 3\)\).*are 4 class"),
        ((2,), (2, 1), 1, r"one output only"),
        ((), (), 1, r"`y_pred` must be \[\.\.\., C\]"),
    ],
)
@kinds
def test_shapes_that_do_not_fit_are_refused(kind, labels, predictions, classes, message):
    with pytest.raises(ValueError, match=message):
        loss(kind, np.zeros(labels, "int32"), np.zeros(predictions), np.ones(classes))


@pytest.mark.parametrize("gamma", [-1, float("nan"), float("inf"), True, "1", None])
def test_gamma_out_of_range_is_refused_with_its_value(gamma):
    with pytest.raises(ValueError, match="`gamma` must be a finite number >= 0, got"):
        loss("focal", IDS, gamma=gamma)


RIGHT = {
    "logits": np.zeros((2, 3), "float32"),
    "labels": np.zeros(2, "int32"),
    "class_weights": np.ones(3, "float32"),
    "gamma": np.float32(1),
    "upstream": np.float32(1),
}


def call_raw_op(kind, change):
    change = {k: v if v.dtype == "int32" else np.float32(v) for k, v in change.items()}
    return raw_ops().cb_keras_loss_and_gradient(**{**RIGHT, **change}, loss=kind)


def name_of(value):
    return next(iter(value)) if isinstance(value, dict) else ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros(3)}, r"logits must be \[N, C\] with C >= 1, got shape \[3\]"),
        ({"logits": np.zeros((2, 0))}, r"logits must be \[N, C\] with C >= 1, got shape \[2,0\]"),
        ({"labels": np.zeros(3, "int32")}, r"labels must have shape \[2\], got \[3\] .*\[2,3\]"),
        ({"labels": np.zeros((2, 4))}, r"labels must have shape \[2,3\], got \[2,4\]"),
        ({"labels": np.zeros(3)}, r"labels must have shape \[2\], got \[3\]"),
        ({"class_weights": np.ones(4)}, r"class_weights must have shape \[3\], got \[4\]"),
        ({"gamma": np.ones(1)}, r"gamma must be a scalar, got shape \[1\]"),
        ({"upstream": np.ones(3)}, r"upstream must be a scalar or have shape \[2\], got \[3\]"),
    ],
    ids=name_of,
)
@kinds
def test_the_raw_op_refuses_shapes_that_do_not_fit(kind, change, message):
    with pytest.raises(InvalidArgument, match=message):
        call_raw_op(kind, change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros(3)}, "must be rank 2 but is rank 1"),
        ({"labels": np.zeros((2, 1), "int32")}, "must be rank 1 but is rank 2"),
        ({"labels": np.zeros(3, "int32")}, "must be equal, but are 3 and 2"),
        ({"labels": np.zeros((2, 4))}, "must be equal, but are 4 and 3"),
        ({"labels": np.zeros(3)}, "must be equal, but are 3 and 2"),
        ({"labels": np.zeros((2, 3, 1))}, "must be at most rank 2 but is rank 3"),
        ({"class_weights": np.ones(4)}, "must be equal, but are 4 and 3"),
        ({"gamma": np.ones(1)}, "must be rank 0 but is rank 1"),
        ({"upstream": np.ones((2, 1))}, "must be at most rank 1 but is rank 2"),
    ],
    ids=name_of,
)
def test_a_graph_refuses_shapes_while_it_is_traced(change, message):
    with pytest.raises(ValueError, match=message):
        tf.function(lambda: call_raw_op("sigmoid", change)).get_concrete_function()


@pytest.mark.parametrize("gamma", [-0.5, np.nan, np.inf])
def test_the_raw_op_refuses_gamma_out_of_range_with_its_value(gamma):
    with pytest.raises(InvalidArgument, match=f"gamma must be finite and >= 0, got {gamma}"):
        call_raw_op("focal", {"gamma": np.float32(gamma)})


@functools.cache
def losses_and_gradient_under_xla(kind, classes):
    """A function of multi-hot labels; kept, since each costs a compilation."""

    @tf.function(jit_compile=True)
    def function(labels):
        z = tf.zeros((4, classes))
        with tf.GradientTape() as tape:
            tape.watch(z)
            losses = fused.crossentropy(kind, labels, z, np.ones(classes), 1.0)
        return losses, tape.gradient(losses, z)

    return function


@pytest.mark.parametrize("classes", [3, 33])
@pytest.mark.parametrize("label", [-1.0, 2.0, 255.0, np.nan])
@dense_kinds
def test_a_multi_hot_label_outside_of_0_to_1_is_named_and_under_xla_its_row_is_nan(
    kind, label, classes
):
    labels = np.eye(4, classes, dtype="float32")
    labels[1, 2] = label
    message = (
        rf"holds -?{abs(label):g} at position \[1, 2\]: multi-hot labels are 0 or 1.* not known"
    )
    with pytest.raises(InvalidArgument, match=message):
        fused.crossentropy(kind, labels, np.zeros((4, classes), "f"), np.ones(classes), 1.0)
    if not fused.compiles():
        return
    losses, gradient = losses_and_gradient_under_xla(kind, classes)(tf.constant(labels))
    gradient = gradient.numpy()
    assert np.isnan(losses).tolist() == [False, True, False, False]
    assert np.isnan(gradient).all(axis=1).tolist() == [False, True, False, False]
    assert not np.isnan(gradient[[0, 2, 3]]).any()
