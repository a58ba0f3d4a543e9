"""BalancedAccuracy on masks, weights and labels of every kind, against scikit-learn."""

import keras
import numpy as np
import pytest
import sklearn.metrics
from keras import ops

from cb_keras.metrics import BalancedAccuracy
from tests.cb_keras.cases import MODES, modes
from tests.cb_keras.gradients import BACKEND

RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 3, (8, 5))
TOKENS = RNG.integers(1, 12, (8, 5))
TOKENS[:5, 3:] = 0  # padding, where the labels are arbitrary
KEPT = TOKENS != 0
KERNEL = RNG.normal(size=(12, 3)).astype("float32")
LOGITS = KERNEL[TOKENS]  # [8, 5, 3]


def expected(labels=LABELS, logits=LOGITS, weight=None):
    weight = None if weight is None else weight.ravel()
    predictions = logits.reshape(-1, logits.shape[-1]).argmax(-1)
    return sklearn.metrics.balanced_accuracy_score(
        labels.ravel(), predictions, sample_weight=weight
    )


def score(labels, logits, weight=None, num_classes=3, **kwargs):
    metric = BalancedAccuracy(num_classes, **kwargs)
    metric.update_state(labels, logits, weight)
    return ops.convert_to_numpy(metric.result()).item()


def compiled_model(layers, weights, loss, mode):
    if BACKEND == "torch" and mode == "compiled":
        pytest.skip("`jit_compile` is XLA's; on PyTorch Keras would need a C++ compiler")
    model = keras.Sequential(layers)
    model.set_weights([weights])
    metrics = [BalancedAccuracy(3), "accuracy"]
    model.compile(keras.optimizers.SGD(0.0), loss, weighted_metrics=metrics, **MODES[mode])
    return model


def sequence_model(mode, loss=None):
    """Its logits are `KERNEL[token]`, masked where the token is 0."""
    layers = [keras.Input((5,), dtype="int32"), keras.layers.Embedding(12, 3, mask_zero=True)]
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return compiled_model(layers, KERNEL, loss, mode)


@pytest.mark.parametrize(
    ("mode", "weighted"),
    [("eager", True), ("graph", False), ("graph", True), ("compiled", True)],
)
def test_padded_steps_count_in_no_recall_as_in_no_accuracy_of_keras(mode, weighted):
    weight = RNG.uniform(0.1, 3, (8, 5)) if weighted else None
    of_steps = KEPT * (weight if weighted else 1.0)
    model = sequence_model(mode)
    right = expected(weight=of_steps)
    assert right != pytest.approx(expected(weight=np.ones((8, 5))), rel=1e-2)  # padding matters
    found = model.evaluate(TOKENS, LABELS, sample_weight=weight, return_dict=True, verbose=0)
    assert found["balanced_accuracy"] == pytest.approx(right, rel=1e-5)
    hits = (LOGITS.argmax(-1) == LABELS) * of_steps
    if not weighted and keras.__version__.startswith("3.10."):
        return  # its accuracy counts padded steps
    assert found["accuracy"] == pytest.approx(hits.sum() / of_steps.sum(), rel=1e-5)


@pytest.mark.slow
@modes
def test_padded_steps_count_in_no_recall_of_fit(mode):
    if BACKEND == "jax":
        pytest.skip("Keras' trainer on JAX loses the mask in training, for its own metrics too")
    model = sequence_model(mode)
    history = model.fit(TOKENS, LABELS, batch_size=3, verbose=0).history
    assert history["balanced_accuracy"] == pytest.approx([expected(weight=KEPT)], rel=1e-5)


@pytest.mark.parametrize("shape", [(), (8,), (8, 1), (1, 5), (8, 5), (8, 5, 1)])
def test_weights_of_the_first_axes_count_for_all_their_examples(shape):
    weight = RNG.uniform(0.1, 3, shape)
    of_steps = weight[:, None] if shape == (8,) else weight[..., 0] if len(shape) == 3 else weight
    right = expected(weight=np.broadcast_to(of_steps, (8, 5)))
    assert score(LABELS, LOGITS, weight) == pytest.approx(right, rel=1e-5)


@pytest.mark.parametrize("shape", [(5,), (40,), (5, 8), (8, 5, 3), (1, 8, 5)])
def test_weights_that_fit_no_examples_are_refused_with_both_shapes(shape):
    message = rf"`sample_weight` has shape {shape}, which fits no examples of shape (8, 5)"
    with pytest.raises(ValueError) as error:  # noqa: PT011
        score(LABELS, LOGITS, np.ones(shape))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "bad", [3, -1, 2**31, 2**32, 2**32 + 1, -(2**32), 2**63, 0.5, -0.5, 1.5, np.nan, np.inf]
)
def test_a_label_that_is_not_a_class_counts_in_no_recall(bad):
    if BACKEND == "torch" and bad == 2**63:
        pytest.skip("Keras takes no uint64 on PyTorch")
    kind = "float64" if isinstance(bad, float) else "uint64" if bad == 2**63 else "int64"
    labels = LABELS.astype(kind)
    labels[0] = bad
    kept = np.ones((8, 5))
    kept[0] = 0
    right = expected(weight=kept)
    assert right != expected()
    assert score(labels, LOGITS) == pytest.approx(right, rel=1e-5)
    weight = np.full((8, 5), 2.0)
    assert score(labels[..., None], LOGITS, weight) == pytest.approx(right, rel=1e-5)


@modes
def test_a_label_that_is_not_a_class_counts_in_no_recall_of_fit(mode):
    labels = LABELS.astype("float32")
    labels[7] = 0.5, 3, -1, -0.5, 1e9
    kept = KEPT & (np.arange(8) < 7)[:, None]
    model = sequence_model(mode, lambda y, p: ops.sum(p, -1))
    found = model.evaluate(TOKENS, labels, return_dict=True, verbose=0)
    assert found["balanced_accuracy"] == pytest.approx(expected(weight=kept), rel=1e-5)


ONE_OUTPUT = RNG.normal(size=60)
YES_OR_NO = (RNG.random(60) < 0.2).astype("int32")


@pytest.mark.parametrize("labels", [(60,), (60, 1)])
@pytest.mark.parametrize("shape", [(60,), (60, 1)])
@pytest.mark.parametrize("probabilities", [False, True])
def test_one_output_is_read_with_its_threshold(probabilities, shape, labels):
    right = sklearn.metrics.balanced_accuracy_score(YES_OR_NO, ONE_OUTPUT > 0)
    output, threshold = ONE_OUTPUT, 0.0
    if probabilities:
        output, threshold = 1 / (1 + np.exp(-ONE_OUTPUT)), 0.5
    found = score(
        YES_OR_NO.reshape(labels), output.reshape(shape), num_classes=2, threshold=threshold
    )
    assert found == pytest.approx(right, rel=1e-5)


def test_one_output_without_a_threshold_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match=r"one output .*`threshold`.*0\.0 for logits, 0\.5 for"):
        score(YES_OR_NO, ONE_OUTPUT[:, None], num_classes=2)
    with pytest.raises(ValueError, match=r"`num_classes` must be .* >= 2, got 1; .*`threshold`"):
        BalancedAccuracy(1)


@pytest.mark.parametrize("shape", [(30, 2), (30, 2, 2)])
def test_a_threshold_for_several_outputs_is_refused(shape):
    with pytest.raises(ValueError, match="with a `threshold`, `y_pred` is one output"):
        score(np.zeros(shape[:-1]), np.zeros(shape), num_classes=2, threshold=0.5)


@pytest.mark.parametrize(
    ("num_classes", "threshold"), [(3, 0.5), (2, np.nan), (2, "0.5"), (2, True)]
)
def test_a_threshold_that_is_none_is_refused(num_classes, threshold):
    with pytest.raises(ValueError, match="`threshold` must be a"):
        BalancedAccuracy(num_classes, threshold=threshold)


SOFT = np.eye(3)[LABELS.ravel()] * 0.9 + 0.1 / 3
MULTI_HOT = np.tile([[1, 1, 0], [0, 1, 0]], (20, 1))


def test_a_soft_label_is_of_its_largest_class_and_of_none_where_two_are_largest():
    rows = SOFT.copy()
    rows[3], rows[4], rows[5] = [0.5, 0.5, 0], 0, 1 / 3
    kept = ~np.isin(np.arange(40), [3, 4, 5])
    logits = LOGITS.reshape(40, 3)
    assert score(rows, logits) == pytest.approx(expected(weight=kept), rel=1e-5)


def test_multi_hot_labels_are_refused_with_their_number_where_they_have_a_weight():
    logits = LOGITS.reshape(40, 3)
    with pytest.raises(ValueError, match=r"\(40, 3\) holds 20 multi-hot labels.*class ids"):
        score(MULTI_HOT, logits)
    alone = MULTI_HOT.sum(-1) == 1
    right = (logits[alone].argmax(-1) == 1).mean()
    assert score(MULTI_HOT, logits, alone) == pytest.approx(right, rel=1e-5)


@modes
def test_multi_hot_labels_of_a_model_are_refused_or_make_the_figure_nan(mode):
    layers = [keras.Input((3,)), keras.layers.Dense(3, use_bias=False)]
    model = compiled_model(layers, np.eye(3), "mse", mode)
    one_hot = np.eye(3)[LABELS.ravel()]
    arguments = {"batch_size": 40, "verbose": 0, "return_dict": True}
    found = model.evaluate(LOGITS.reshape(40, 3), one_hot, **arguments)
    assert found["balanced_accuracy"] == pytest.approx(expected(), rel=1e-5)
    if BACKEND == "torch" or (BACKEND, mode) == ("tensorflow", "eager"):
        with pytest.raises(ValueError, match="20 multi-hot labels"):
            model.evaluate(LOGITS.reshape(40, 3), MULTI_HOT, **arguments)
    else:
        found = model.evaluate(LOGITS.reshape(40, 3), MULTI_HOT, **arguments)
        assert np.isnan(found["balanced_accuracy"])


def test_a_prediction_that_is_nan_is_wrong_and_a_weight_that_is_nan_shows():
    logits = LOGITS.copy()
    logits[2] = np.nan
    wrong = LOGITS.copy()
    wrong[2] = np.eye(3)[(LABELS[2] + 1) % 3]
    assert score(LABELS, logits) == pytest.approx(expected(logits=wrong), rel=1e-5)
    weight = np.ones((8, 5))
    weight[0, 0] = np.nan
    assert np.isnan(score(LABELS, LOGITS, weight))


def test_examples_are_counted_exactly_whatever_the_dtype():
    labels = np.repeat([0, 1], 3001)  # float16 is exact to 2048, bfloat16 to 256
    logits = np.eye(2)[np.repeat([0, 1], [3000, 3002])]
    for dtype in ("float16", "bfloat16"):
        metric = BalancedAccuracy(2, dtype=dtype)
        metric.update_state(labels, logits)
        np.testing.assert_array_equal(ops.convert_to_numpy(metric.total.value), [3001, 3001])
        np.testing.assert_array_equal(ops.convert_to_numpy(metric.correct.value), [3000, 3001])


def test_early_stopping_knows_that_more_is_better():
    stop = keras.callbacks.EarlyStopping(monitor="val_balanced_accuracy", patience=1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=[BalancedAccuracy(3)])
    data = np.eye(3), np.arange(3)
    epochs = model.fit(*data, epochs=5, validation_data=data, callbacks=[stop], verbose=0).epoch
    assert stop.monitor_op is ops.greater
    assert epochs == [0, 1]  # no better in the second epoch


def test_the_threshold_is_in_the_config():
    metric = BalancedAccuracy(2, threshold=0.5)
    again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert again.threshold == 0.5
