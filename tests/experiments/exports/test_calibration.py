"""The bins of the reliability diagram: against a definition in plain Python."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

from experiments.exports import calibration


@pytest.fixture(scope="module")
def predicted():
    """Labels and probabilities of an overconfident classifier on the second half of the digits."""
    images, labels = load_digits(return_X_y=True)
    half = len(labels) // 2
    model = GaussianNB(var_smoothing=1e-3).fit(images[:half], labels[:half])
    return labels[half:], model.predict_proba(images[half:]).astype("float32")


def test_the_bins_are_those_of_their_definition(predicted):
    labels, probabilities = predicted
    made = calibration.reliability(labels, probabilities)
    assert made["bins"] == 15
    for i in range(15):
        inside = [
            (float(p.max()), int(p.argmax()) == label)
            for label, p in zip(labels, probabilities, strict=True)
            if i / 15 < float(p.max()) <= (i + 1) / 15
        ]
        assert made["count"][i] == len(inside)
        if inside:
            confidences, right = zip(*inside, strict=True)
            assert made["confidence"][i] == pytest.approx(np.mean(confidences), abs=1e-12)
            assert made["accuracy"][i] == pytest.approx(np.mean(right), abs=1e-12)
        else:
            assert made["confidence"][i] is made["accuracy"][i] is None
    gaps = [
        n / len(labels) * abs(a - c)
        for n, a, c in zip(made["count"], made["accuracy"], made["confidence"], strict=True)
        if n
    ]
    assert calibration.expected_calibration_error(made) == pytest.approx(sum(gaps), abs=1e-12)
    assert sum(gaps) > 0.01


def test_a_confidence_on_an_edge_is_in_the_bin_below():
    probabilities = [[i / 15, 0.0] for i in range(16)]
    made = calibration.reliability([0] * 16, probabilities)
    assert made["count"] == [2, *[1] * 14]  # 0 has no bin below
