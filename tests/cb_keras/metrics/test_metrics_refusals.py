"""What the metrics refuse, with the argument, the value and the fix."""

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import metrics
from tests.cb_keras.gradients import BACKEND, compiled

IDS = np.array([0, 1, 2, 1])
LOGITS = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
MULTI_HOT = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]])
MULTI = {"threshold": 0.0, "multi_label": True}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.ShotAccuracy([9, 8], "tail"), "'tail' must be one of .*'few'"),
        (
            lambda: metrics.ShotAccuracy([900, 9], "medium"),
            r"`group`='medium' has no classes for the counts \[900, 9\]; .* \['many', 'few'\]",
        ),
        (lambda: metrics.ShotAccuracy([3.5, 2]), "`class_counts` must be whole numbers >= 0"),
        (lambda: metrics.PerClassRecall(3, 3), r"`class_id` must be in \[0, 3\), got 3"),
        (lambda: metrics.PerClassRecall(3, -1), "`class_id` must be a whole number >= 0, got -1"),
        (lambda: metrics.MacroF1(3, multi_label=True), "needs a `threshold` .* 0.0 for logits"),
        (lambda: metrics.MacroF1(3, multi_label=1), "`multi_label` must be True or False"),
        (lambda: metrics.MacroF1(3, ignore_class=1, **MULTI), "`ignore_class` must not be 1"),
        (lambda: metrics.GeometricMean(3, ignore_class=0.5), "`ignore_class` must be a whole"),
        (lambda: metrics.GeometricMean(1), "`num_classes` must be .* >= 2, got 1"),
        (lambda: metrics.ExpectedCalibrationError(0), "`num_bins` must be .* >= 1, got 0"),
        (lambda: metrics.ExpectedCalibrationError(15, "yes"), "`from_logits` must be True or"),
    ],
)
def test_a_wrong_argument_is_refused_with_its_value(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("metric", "labels", "message"),
    [
        (
            metrics.MacroF1(3, ignore_class=2),
            np.eye(3)[IDS],
            "`ignore_class` must be None with dense",
        ),
        (metrics.MacroF1(3), MULTI_HOT, r"2 multi-hot labels.*with multi_label=True"),
        (metrics.MacroF1(3, **MULTI), IDS, r"`y_true` has shape \(4,\) .* \[\.\.\., 3\], one"),
        (metrics.MacroF1(4, **MULTI), MULTI_HOT, r"both are \[\.\.\., 4\]"),
        (metrics.MacroF1(3, **MULTI), 2 * MULTI_HOT - 1, r"7 labels that are not in \[0, 1\]"),
        (metrics.MacroF1(3, **MULTI), MULTI_HOT * np.nan, r"12 labels that are not in \[0, 1\]"),
        (
            metrics.ExpectedCalibrationError(from_logits=False),
            IDS,
            r"4 predictions that are not in \[0, 1\], .* give from_logits=True",
        ),
    ],
)
def test_labels_and_predictions_that_do_not_fit_are_refused(metric, labels, message):
    with pytest.raises(ValueError, match=message):
        metric.update_state(labels, LOGITS * 10)


@pytest.mark.parametrize(
    ("metric", "labels"),
    [
        (metrics.MacroF1(3, **MULTI), 2.0 * MULTI_HOT - 1),
        (metrics.ExpectedCalibrationError(from_logits=False), IDS),
    ],
)
def test_where_values_can_not_be_seen_the_figure_is_nan(metric, labels):
    if BACKEND == "torch":
        pytest.skip("PyTorch sees the values and refuses")

    def figure(predictions):
        state = [v * 0 for v in metric.variables]
        return metric.stateless_result(metric.stateless_update_state(state, labels, predictions))

    assert np.isnan(ops.convert_to_numpy(compiled(figure)(ops.convert_to_tensor(LOGITS * 10))))


def test_probabilities_that_the_calibration_error_takes_for_logits_are_told():
    probabilities = keras.ops.softmax(LOGITS)
    with pytest.warns(UserWarning, match="taken for logits.*from_logits=False"):
        metrics.ExpectedCalibrationError().update_state(IDS, probabilities)
