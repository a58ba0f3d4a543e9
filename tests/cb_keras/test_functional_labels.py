"""Labels of every format and type, labels that are not a class, and shapes that do not fit."""

import keras
import numpy as np
import pandas
import pytest
from keras import ops

from cb_keras import checks, class_balanced_weights, functional, losses, metrics
from tests.cb_keras import reference
from tests.cb_keras.cases import IDS, INTEGERS, LOGITS, LOSSES, TARGETS, WEIGHTS, kinds, loss_of
from tests.cb_keras.gradients import BACKEND, value_and_gradient


def expected_loss(kind):
    return reference.loss(kind, LOGITS, TARGETS, WEIGHTS[IDS])


@pytest.mark.parametrize("dtype", [*INTEGERS, "float32", "float64"])
@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@kinds
def test_class_ids_of_every_type_and_shape(kind, shape, dtype):
    labels = IDS.astype(dtype).reshape(shape)
    expected = expected_loss(kind)
    np.testing.assert_allclose(loss_of(kind, labels), expected, rtol=1e-6)
    tensor = ops.convert_to_tensor(labels)
    np.testing.assert_allclose(loss_of(kind, tensor), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [*INTEGERS, "bool", "float16", "bfloat16", "float32", "float64"])
@kinds
def test_one_hot_labels_of_every_type(kind, dtype):
    labels = ops.cast(TARGETS, dtype)
    np.testing.assert_allclose(loss_of(kind, labels), expected_loss(kind), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@kinds
def test_small_integers_work_with_more_classes_than_they_hold(kind, dtype, rng):
    logits, ids = rng.normal(size=(3, 300)), np.array([0, 5, 127])
    expected = reference.loss(kind, logits, reference.one_hot(ids, 300))
    result = loss_of(kind, ids.astype(dtype), logits, None)
    np.testing.assert_allclose(result, expected, rtol=1e-5)


@kinds
def test_soft_labels_mix_the_terms_and_the_weights(kind):
    soft = np.array([[0.7, 0.3, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6], [1, 0, 0]])
    expected = reference.mixed(reference.loss, kind, LOGITS, soft, WEIGHTS)
    np.testing.assert_allclose(loss_of(kind, soft), expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["sigmoid", "focal"])
def test_multi_hot_labels_have_the_mean_weight_of_their_classes(kind):
    multi = np.array([[1, 1, 0], [1, 1, 1], [0, 0, 0], [0, 0, 1]])
    # By hand from the weights 0.2, 0.7, 2.1; no label at all: the mean of all weights.
    weight = np.array([0.45, 1.0, 1.0, 2.1])
    expected = reference.loss(kind, LOGITS, multi, weight)
    np.testing.assert_allclose(loss_of(kind, multi), expected, rtol=1e-5)


@pytest.mark.parametrize("labels_shape", [(2, 3, 4), (2, 3, 4, 1), (2, 3, 4, 5)])
@kinds
def test_leading_dimensions_are_kept(kind, labels_shape, rng):
    logits, ids = rng.normal(size=(2, 3, 4, 5)), rng.integers(0, 5, (2, 3, 4))
    weights, targets = rng.uniform(0.5, 2, 5), reference.one_hot(ids, 5)
    labels = targets if labels_shape[-1] == 5 else ids.reshape(labels_shape)
    result = loss_of(kind, labels, logits, weights)
    assert result.shape == (2, 3, 4)
    np.testing.assert_allclose(
        result, reference.loss(kind, logits, targets, weights[ids]), rtol=1e-5
    )


@kinds
def test_a_scalar_label_of_a_vector_of_logits(kind):
    result = loss_of(kind, np.int32(1), LOGITS[1])
    assert result.shape == ()
    np.testing.assert_allclose(result, expected_loss(kind)[1], rtol=1e-6)


@pytest.mark.parametrize("bad", [-1, 3, 1.5, -0.5, 1e10, float("nan"), float("inf")])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["plain", "weighted"])
@pytest.mark.usefixtures("unseen")
@kinds
def test_a_label_that_is_not_a_class_gives_nan_to_its_example_only(kind, weights, bad):
    labels = np.array([0, bad, 0, 2], dtype="int32" if bad in (-1, 3) else "float32")
    value, gradient = value_and_gradient(lambda z: LOSSES[kind](labels, z, weights), LOGITS)
    np.testing.assert_array_equal(np.isnan(value), [False, True, False, False])
    np.testing.assert_array_equal(np.isnan(gradient).all(-1), [False, True, False, False])
    np.testing.assert_array_equal(np.isnan(gradient).any(-1), [False, True, False, False])


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.usefixtures("unseen")
@kinds
def test_an_integer_out_of_range_gives_nan_whatever_its_type(kind, dtype):
    labels = np.array([0, np.iinfo(dtype).max, 0, 2], dtype)
    if BACKEND == "jax" and dtype in ("int64", "uint64"):
        pytest.skip("JAX itself wraps 64-bit integers to 32 bits")
    np.testing.assert_array_equal(np.isnan(loss_of(kind, labels)), [False, True, False, False])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "bool"])
@kinds
def test_class_ids_of_a_type_that_cannot_hold_them_are_refused(kind, dtype):
    with pytest.raises(ValueError, match=rf"`y_true` holds class ids as {dtype}.*int32"):
        loss_of(kind, ops.cast(IDS, dtype))


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [((3,), (4, 3)), ((4, 2), (4, 3)), ((4, 3, 1), (4, 3)), ((), (4, 3)), ((5, 1), (4, 3))],
)
@kinds
def test_shapes_that_do_not_fit_are_refused_with_both(kind, labels, predictions):
    with pytest.raises(ValueError, match=r"`y_true` has shape .*`y_pred` of shape .*expected"):
        loss_of(kind, np.zeros(labels, "int32"), np.zeros(predictions), None)


@pytest.mark.parametrize("labels", [(4,), (4, 1), (4, 0)])
@kinds
def test_predictions_without_classes_are_refused(kind, labels):
    with pytest.raises(ValueError, match=r"`y_pred` of shape \(4, 0\) has no classes"):
        loss_of(kind, np.zeros(labels, "int32"), np.zeros((4, 0)), None)


@pytest.mark.parametrize("labels", [IDS, TARGETS], ids=["sparse", "one-hot"])
@kinds
def test_another_number_of_class_weights_is_refused_with_both(kind, labels):
    with pytest.raises(ValueError, match=r"`y_pred` has 3 classes \(shape \(4, 3\)\).*are 4 class"):
        loss_of(kind, labels, weights=np.ones(4))


@kinds
def test_class_weights_must_be_a_vector(kind):
    for weights in (WEIGHTS[None], ops.convert_to_tensor(WEIGHTS[None])):
        with pytest.raises(ValueError, match=r"`class_weights` must .*shape \[C\].*\(1, 3\)"):
            loss_of(kind, IDS, weights=weights)


@kinds
def test_class_ids_of_a_single_output_are_refused(kind):
    with pytest.raises(ValueError, match=r"one output only.*give them the shape of `y_pred`"):
        loss_of(kind, np.array([0, 1]), np.zeros((2, 1)), None)


@pytest.mark.parametrize("kind", ["sigmoid", "focal"])
def test_a_single_output_takes_zero_one_labels_of_its_shape(kind):
    logits, labels = np.array([[0.5], [-2.0]]), np.array([[1], [0]])
    expected = reference.loss(kind, logits, labels, 3.0)
    np.testing.assert_allclose(loss_of(kind, labels, logits, [3.0]), expected, rtol=1e-6)


@kinds
def test_predictions_without_a_class_axis_are_refused(kind):
    with pytest.raises(ValueError, match=r"`y_pred` must be \[\.\.\., C\] with a known C"):
        loss_of(kind, np.int32(0), np.float32(0), None)


def tensor_spec_error(kind, labels_shape, predictions_shape):
    """The message at trace time, before there is any value."""
    if BACKEND != "tensorflow":
        pytest.skip("sizes unknown at trace time are TensorFlow's")
    import tensorflow as tf

    function = tf.function(lambda y, z: LOSSES[kind](y, z, WEIGHTS))
    with pytest.raises(ValueError, match="`y_") as error:
        function.get_concrete_function(
            tf.TensorSpec(labels_shape, "int32"), tf.TensorSpec(predictions_shape, "float32")
        )
    return str(error.value)


@kinds
def test_mismatches_are_refused_while_tracing(kind):
    message = tensor_spec_error(kind, (None,), (None, 4))
    assert "`y_pred` has 4 classes (shape (None, 4)) but there are 3 class" in message
    message = tensor_spec_error(kind, (None, 2), (None, 3))
    assert "`y_true` has shape (None, 2)" in message
    assert "`y_pred` of shape (None, 3)" in message
    message = tensor_spec_error(kind, (None,), (None, None))
    assert "`y_pred` must be [..., C] with a known C, got shape (None, None)" in message


@kinds
def test_labels_of_unknown_width_are_never_guessed(kind):
    message = tensor_spec_error(kind, (None, None), (None, 3))
    assert "`y_true` has shape (None, None)" in message


def test_check_labels_tells_class_ids_from_dense_labels():
    assert checks.check_labels(IDS, LOGITS)
    assert checks.check_labels(IDS[:, None], LOGITS)
    assert not checks.check_labels(TARGETS, LOGITS)


@pytest.mark.parametrize("label", [2**32 + 1, 2**31, -(2**32), 2**63])
@pytest.mark.usefixtures("unseen")
@kinds
def test_a_label_too_large_for_32_bits_is_not_another_class(kind, label):
    labels = np.array([0, label, 2, 2], "uint64" if label == 2**63 else "int64")
    if labels.dtype not in INTEGERS:
        pytest.skip("Keras has no uint64 on PyTorch")
    # TensorFlow and PyTorch refuse such numbers in a list themselves.
    listed = [labels.tolist()] if BACKEND == "jax" else []
    for given in (labels, pandas.Series(labels), *listed):
        assert np.isnan(loss_of(kind, given)).tolist() == [False, True, False, False]


@pytest.mark.usefixtures("unseen")
@kinds
def test_a_float64_label_next_to_a_class_is_not_that_class(kind):
    labels = np.array([0, 1 - 1e-12, 2, 2])
    assert np.isnan(loss_of(kind, labels)).tolist() == [False, True, False, False]
    assert np.isnan(loss_of(kind, labels[:, None])).tolist() == [False, True, False, False]


@pytest.mark.parametrize("form", ["ids", "one-hot"])
@pytest.mark.parametrize("jit_compile", [False, True])
@kinds
def test_one_label_is_not_laid_on_all_rows_where_sizes_are_unknown(kind, form, jit_compile):
    if BACKEND != "tensorflow":
        pytest.skip("sizes unknown at trace time are TensorFlow's")
    import tensorflow as tf

    ids = form == "ids"
    signature = [
        tf.TensorSpec([None] if ids else [None, 3], "int32" if ids else "float32"),
        tf.TensorSpec([None, 3], "float32"),
    ]
    traced = tf.function(LOSSES[kind], input_signature=signature, jit_compile=jit_compile)
    labels = tf.constant(IDS if ids else TARGETS)
    logits = tf.constant(LOGITS, "float32")
    labels = tf.cast(labels, signature[0].dtype)
    right = reference.loss(kind, LOGITS, TARGETS)
    np.testing.assert_allclose(traced(labels, logits), right, rtol=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="`y_true`" if not jit_compile else ""):
        traced(labels[:1], logits)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("form", ["ids", "one-hot"])
@pytest.mark.parametrize("what", ["the op", "keras.ops", "metric"])
def test_labels_of_other_pixels_are_refused_where_sizes_are_known_at_run_time_only(
    what, form, jit_compile
):
    """[N, W, H] of logits [N, H, W, C] are as many labels, of other pixels."""
    if BACKEND != "tensorflow":
        pytest.skip("unknown sizes are TensorFlow's")
    import tensorflow as tf

    logits = tf.constant(np.random.default_rng(0).normal(size=(2, 4, 6, 3)), "float32")
    ids = np.arange(48).reshape(2, 4, 6) % 3
    labels = tf.constant(ids if form == "ids" else np.eye(3, dtype="float32")[ids])
    fused = "auto" if what == "the op" else False
    loss = losses.ClassBalancedFocalCrossentropy([9, 5, 2], fused=fused)
    metric = metrics.BalancedAccuracy(3)
    function = metric if what == "metric" else loss
    sizes = [[None] * len(x.shape[:3]) + list(x.shape[3:]) for x in (labels, logits)]
    signature = [
        tf.TensorSpec(size, x.dtype) for size, x in zip(sizes, (labels, logits), strict=True)
    ]
    traced = tf.function(function, input_signature=signature, jit_compile=jit_compile)
    right = function(labels, logits)
    np.testing.assert_allclose(traced(labels, logits), right, rtol=1e-5)
    swapped = tf.einsum("nhw...->nwh...", labels)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="" if jit_compile else "`y_true` does"
    ):
        traced(swapped, logits)


def test_labels_of_unknown_rank_are_told_what_to_do():
    if BACKEND != "tensorflow":
        pytest.skip("shapes of unknown rank are TensorFlow's")
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(None, "int32")])
    def traced(labels):
        return LOSSES["softmax"](labels, tf.constant(LOGITS))

    with pytest.raises(
        ValueError, match=r"`y_true` has an unknown number of dimensions.*set_shape"
    ):
        traced(IDS)


def test_sparse_and_ragged_labels_are_refused_with_the_remedy():
    from scipy import sparse

    labels = [sparse.csr_matrix(TARGETS), sparse.coo_array(TARGETS)]
    if BACKEND == "tensorflow":
        import tensorflow as tf

        labels += [tf.sparse.from_dense(TARGETS), tf.ragged.constant([[1, 0], [0, 1, 0]])]
    if BACKEND == "jax":
        from jax.experimental import sparse as jax_sparse

        labels.append(jax_sparse.BCOO.fromdense(TARGETS))
    if BACKEND == "torch":
        import torch

        labels.append(torch.tensor(TARGETS).to_sparse())
    for given in labels:
        with pytest.raises(
            ValueError, match=r"`y_true` must be .*, dense, got.*make it dense first"
        ):
            LOSSES["softmax"](given, LOGITS)


def test_no_nan_is_made_where_all_is_right():
    """For jax_debug_nans and tf.debugging.enable_check_numerics, which stop at the first one."""
    if BACKEND == "jax":
        import jax

        with jax.debug_nans(True):
            result = loss_of("focal", IDS)
    elif BACKEND == "tensorflow":
        import tensorflow as tf

        tf.debugging.enable_check_numerics()
        try:
            result = loss_of("focal", IDS, weights=class_balanced_weights([3, 2, 1]))
        finally:
            tf.debugging.disable_check_numerics()
    else:
        pytest.skip("PyTorch has no such tool for forward passes")
    assert np.isfinite(result).all()


def test_the_functions_are_found_again_in_a_saved_model(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", functional.class_balanced_focal_crossentropy)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.loss is functional.class_balanced_focal_crossentropy
