"""Every metric on real predictions, against scikit-learn and float64 numpy."""

import json

import keras
import numpy as np
import pytest
import sklearn.metrics
from keras import ops

from cb_keras import metrics, private_api
from tests.cb_keras.gradients import BACKEND
from tests.cb_keras.metrics import cases
from tests.cb_keras.metrics.cases import score, value

METRICS = {
    "balanced_accuracy": (metrics.BalancedAccuracy, cases.balanced_accuracy),
    "geometric_mean": (metrics.GeometricMean, cases.geometric_mean),
    "macro_f1": (metrics.MacroF1, cases.macro_f1),
    "few_accuracy": (lambda _, **kw: metrics.ShotAccuracy(cases.COUNTS, **kw), cases.few_accuracy),
    "recall_8": (
        lambda c, **kw: metrics.PerClassRecall(c, 8, **kw),
        lambda *a: cases.recalls(*a)[8],
    ),
    "ece": (
        lambda _, **kw: metrics.ExpectedCalibrationError(**kw),
        cases.calibration_error,
    ),
}
every_metric = pytest.mark.parametrize("name", METRICS)
near = {"abs": 1e-6, "rel": 1e-6}
# JAX compiles each operation again for each size.
PARTS = [300, 600] if BACKEND == "jax" else [1, 500, 500, 800]


@every_metric
@pytest.mark.parametrize("weighted", [False, True])
def test_the_figure_is_that_of_float64_in_one_batch_and_in_many(name, weighted, rng):
    make, reference = METRICS[name]
    labels, logits = cases.digits()
    weight = rng.uniform(0.1, 3, 900) if weighted else None
    right = reference(labels, logits, weight)
    assert 0.02 < right < 0.98
    one, many = make(10), make(10)
    assert one.name == name
    assert score(one, labels, logits, weight) == pytest.approx(right, **near)
    for part in np.split(np.arange(900), PARTS):  # one example, and none
        many.update_state(labels[part], logits[part], weight[part] if weighted else None)
    assert value(many) == pytest.approx(right, **near)


@every_metric
def test_labels_weights_and_predictions_of_every_shape_give_the_same(name, rng):
    make, reference = METRICS[name]
    labels, logits = cases.digits()
    right = reference(labels, logits)
    assert score(make(10), labels[:, None], logits) == pytest.approx(right, **near)
    assert score(make(10), np.eye(10)[labels], logits) == pytest.approx(right, **near)
    weight = rng.uniform(0.1, 3, (9, 1, 10))
    right = reference(labels, logits, np.broadcast_to(weight, (9, 10, 10)).ravel())
    images = labels.reshape(9, 10, 10), logits.reshape(9, 10, 10, 10)
    assert score(make(10), *images, weight) == pytest.approx(right, **near)
    one_hot = np.eye(10)[images[0]]
    assert score(make(10), one_hot, images[1], weight) == pytest.approx(right, **near)


@every_metric
@pytest.mark.parametrize("void", [255, -1, 4])
def test_void_labels_masks_and_weights_of_zero_equal_removing_the_examples(name, void, rng):
    make, reference = METRICS[name]
    labels, logits = cases.digits()
    kept = rng.random(900) < 0.8
    if void == 4:  # an id of its own class: there is no such class then
        kept = labels != void
        if name == "macro_f1":  # predictions of it are mistakes, and in scikit-learn's mean
            assert (logits[kept].argmax(-1) == void).any()
    right = reference(labels[kept], logits[kept])
    if name == "recall_8" and void == 4:
        right = cases.recalls(labels, logits)[8]
    marked = np.where(kept, labels, void).astype("int16" if void < 0 else "uint8")
    strange = np.where(kept[:, None], logits, np.nan)
    as_void = make(10, ignore_class=void)
    assert score(as_void, marked.reshape(30, 30), strange.reshape(30, 30, 10)) == (
        pytest.approx(right, **near)
    )
    assert score(make(10), labels, strange, kept.astype("float32")) == pytest.approx(right, **near)
    masked = ops.convert_to_tensor(strange)
    private_api.set_keras_mask(masked, ops.convert_to_tensor(kept))
    assert score(make(10), labels, masked) == pytest.approx(right, **near)


@every_metric
def test_one_output_is_a_problem_of_two_classes(name):
    if name == "recall_8":
        make, reference = (
            lambda c, **kw: metrics.PerClassRecall(c, 0, **kw),
            lambda *a: cases.recalls(*a)[0],  # the specificity
        )
    elif name == "few_accuracy":
        make, reference = (
            lambda c, **kw: metrics.ShotAccuracy([90, 9], **kw),
            lambda *a: cases.recalls(*a)[1],
        )
    else:
        make, reference = METRICS[name]
    labels, logits = cases.tumours()
    right = reference(labels, logits)
    logit, probability = {"threshold": 0.0}, {"threshold": 0.5}
    if name == "ece":
        logit, probability = {"from_logits": True}, {"from_logits": False}
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    for shape in ((569,), (569, 1)):
        for outputs, how in ((logits, logit), (p, probability)):
            found = score(make(2, **how), labels.reshape(shape), outputs.reshape(shape))
            assert found == pytest.approx(right, **near)
    if name not in ("few_accuracy", "recall_8"):
        right = reference(labels[labels == 1], logits[labels == 1])
        assert score(make(2, ignore_class=0, **logit), labels, logits) == pytest.approx(
            right, **near
        )


@pytest.mark.filterwarnings("ignore:F-score is ill-defined")
@pytest.mark.parametrize("weighted", [False, True])
def test_multi_hot_figures_are_those_of_scikit_learn_over_the_labels(weighted, rng):
    labels, logits = cases.properties()
    weight = rng.uniform(0.1, 3, 900) if weighted else None
    how = {"threshold": 0.0, "multi_label": True}
    predicted = logits > 0
    right = sklearn.metrics.f1_score(labels, predicted, average="macro", sample_weight=weight)
    assert score(metrics.MacroF1(5, **how), labels, logits, weight) == pytest.approx(right, **near)
    recalls = sklearn.metrics.recall_score(
        labels[:, :4], predicted[:, :4], average=None, sample_weight=weight
    )
    found = score(metrics.PerClassRecall(5, **how), labels, logits, weight)
    assert [*found.values()][:4] == pytest.approx(recalls.tolist(), **near)
    assert np.isnan(found["recall_4"])  # no example has it
    one = metrics.PerClassRecall(5, 2, threshold=0.5, multi_label=True)
    p = 1 / (1 + np.exp(-logits))
    cut = labels.reshape(30, 30, 5), p.reshape(30, 30, 5)
    weight = None if weight is None else weight.reshape(30, 30)
    assert score(one, *cut, weight) == pytest.approx(recalls[2], **near)


def test_a_weight_of_a_single_label_leaves_that_label_out():
    labels, logits = cases.properties()
    labels, weight = labels.astype("float32"), np.ones(labels.shape)
    labels[::3, 1], weight[::3, 1] = np.nan, 0
    found = score(
        metrics.PerClassRecall(5, 1, threshold=0, multi_label=True), labels, logits, weight
    )
    kept = weight[:, 1] > 0
    right = sklearn.metrics.recall_score(labels[kept, 1] > 0.5, logits[kept, 1] > 0)
    assert found == pytest.approx(right, **near)


@pytest.mark.parametrize("weighted", [False, True])
def test_labels_that_are_not_known_count_in_nothing(weighted, rng):
    labels, logits = cases.properties()
    unknown = rng.random(labels.shape) < 0.3
    weight = rng.uniform(0.1, 3, 900) if weighted else np.ones(900)
    how = {"threshold": 0.0, "multi_label": True, "ignore_class": -1}
    given = np.where(unknown, -1, labels)
    one = weight if weighted else None
    recalls = score(metrics.PerClassRecall(5, **how), given, logits, one)
    figures = []
    for label in range(4):
        kept = ~unknown[:, label]
        of_label = labels[kept, label], logits[kept, label] > 0
        figures.append(sklearn.metrics.f1_score(*of_label, sample_weight=weight[kept]))
        right = sklearn.metrics.recall_score(*of_label, sample_weight=weight[kept])
        assert recalls[f"recall_{label}"] == pytest.approx(right, **near)
    f1 = score(metrics.MacroF1(5, **how), given, logits, one)
    assert f1 == pytest.approx(np.sum(figures) / 5, **near)  # no example has the last one


def test_a_prediction_that_is_nan_is_wrong_and_shows_in_the_calibration():
    labels, logits = cases.digits()
    broken, wrong = logits.copy(), logits.copy()
    broken[5] = np.nan
    recall, f1 = metrics.PerClassRecall(10), metrics.MacroF1(10)
    wrong[5] = np.eye(10)[(labels[5] + 1) % 10]
    recalls = cases.recalls(labels, wrong)
    assert [*score(recall, labels, broken).values()] == pytest.approx(recalls.tolist(), **near)
    predicted = np.where(np.arange(900) == 5, -1, logits.argmax(-1))
    right = sklearn.metrics.f1_score(labels, predicted, labels=range(10), average="macro")
    assert score(f1, labels, broken) == pytest.approx(right, **near)
    assert np.isnan(score(metrics.ExpectedCalibrationError(), labels, broken))
    multi, z = cases.properties()
    z = z.copy()
    z[:, 0] = np.nan
    how = {"threshold": 0.0, "multi_label": True}
    right = cases.macro_f1(multi[:, 1], z[:, 1]) * 0  # no label 0 is right
    assert score(metrics.PerClassRecall(5, 0, **how), multi, z) == right


def test_a_class_that_is_never_found_makes_the_geometric_mean_zero_and_an_absent_one_does_not():
    labels, logits = cases.digits()
    assert score(metrics.GeometricMean(12), labels, np.pad(logits, ((0, 0), (0, 2)))) > 0
    never = logits.copy()
    never[:, 3] = -100
    assert score(metrics.GeometricMean(10), labels, never) == 0


def test_the_bins_of_the_calibration_error_hold_their_upper_edges():
    # An edge's neighbours are in other bins, whatever its product with the number of bins.
    edges = np.arange(1, 97, dtype="float32") / 97
    for confidence, shift in (
        (edges, 0),
        (np.nextafter(edges, 2), 1),
        (np.nextafter(edges, -1), 0),
    ):
        found = metrics.ExpectedCalibrationError(97)._bins(ops.convert_to_tensor(confidence))
        np.testing.assert_array_equal(ops.convert_to_numpy(found), np.arange(96) + shift)
    # (0.8, 0.9] holds 0.9 and 0.85: |0 + 1 - 0.9 - 0.85| / 2. By [0.8, 0.9) it would be 0.475.
    metric = metrics.ExpectedCalibrationError(10, from_logits=False)
    assert score(metric, [1, 0], [[0.9, 0.1], [0.85, 0.15]]) == pytest.approx(0.375, abs=1e-6)


def test_before_an_example_and_after_a_reset_there_is_no_figure():
    labels, logits = cases.digits()
    for name, (make, _) in METRICS.items():
        metric = make(10)
        nothing = value(metric)
        assert np.isnan(nothing) if name in ("few_accuracy", "recall_8") else nothing == 0
        assert score(metric, labels, logits) > 0
        metric.reset_state()
        np.testing.assert_equal(value(metric), nothing)


@pytest.mark.parametrize(
    "metric",
    [
        metrics.GeometricMean(7, name="g", dtype="float32", ignore_class=255),
        metrics.ShotAccuracy({0: 90, 1: 30, 2: 5}, "few", ignore_class=-1),
        metrics.ShotAccuracy(np.array([90, 5]), "few", name="tail", threshold=0.5),
        metrics.PerClassRecall(7, 3, ignore_class=255),
        metrics.PerClassRecall(7, threshold=0.5, multi_label=True),
        metrics.MacroF1(7, threshold=0.0, multi_label=True, ignore_class=-1),
        metrics.ExpectedCalibrationError(20, from_logits=False, ignore_class=255),
    ],
    ids=lambda m: m.name,
)
def test_the_config_makes_the_same_metric(metric):
    again = keras.metrics.deserialize(json.loads(json.dumps(keras.metrics.serialize(metric))))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()
    assert again._direction == metric._direction
