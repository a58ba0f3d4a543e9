"""`predictions.npz`: what is written comes back, and anything else is refused in words."""

import json

import numpy as np
import pytest

from experiments.exports import predictions
from experiments.runs.files import DamagedError

NAMES = ("labels", "classes", "logits", "probabilities")
ABOUT = {"probabilities": "sigmoid", "class_names": list("abc"), "class_counts": [3, 2, 1]}


@pytest.fixture
def answers():
    logits = np.array([[1, 2, 3], [3, 1, 0.5]], "float32")
    ids = np.array([2, 1]), logits.argmax(axis=1)
    return predictions.Predictions(*ids, logits, 1 / (1 + np.exp(-logits)), {**ABOUT, "test": {}})


def test_what_is_written_comes_back(answers, tmp_path):
    (tmp_path / "p.npz").write_bytes(predictions.content(answers))
    found = predictions.read(tmp_path / "p.npz")
    assert found.about == answers.about
    for name in NAMES:
        np.testing.assert_array_equal(getattr(found, name), getattr(answers, name))
        assert getattr(found, name).dtype == getattr(answers, name).dtype


def test_as_a_distribution_the_probabilities_of_an_image_sum_to_1(answers):
    found = answers.as_distribution
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)
    assert found.about["probabilities"] == "normalized_sigmoid"
    assert found.as_distribution is found
    assert answers.images.log_loss is None
    expected = -np.log(found.probabilities[[0, 1], [2, 1]])
    np.testing.assert_allclose(found.images.log_loss, expected)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 half a file", None])
def test_a_file_that_is_none_of_ours_is_refused(tmp_path, content):
    file = tmp_path / "p.npz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DamagedError, match=r"p\.npz is not a file of predictions \("):
        predictions.read(file)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.zeros(4, int)}, "not one for each image"),
        ({"labels": np.array(3)}, "not one for each image"),
        ({"logits": np.zeros((5, 9))}, "not one for each image and class"),
        ({"classes": np.full(5, 10)}, "not class ids"),
        ({"probabilities": np.full((5, 10), np.nan)}, "not numbers"),
        ({"logits": np.full((5, 10), "x")}, "not numbers"),
        ({"about": np.array("{}")}, "has no 'probabilities'"),
        ({"about": np.array("[")}, "Expecting value"),
        ({"labels": np.array([{}] * 5)}, "Object arrays cannot be loaded"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, words):
    about = {**ABOUT, "class_names": list("0123456789"), "test": {}}
    ids, floats = np.zeros(5, int), np.zeros((5, 10))
    right = dict(zip(NAMES, (ids, ids, floats, floats), strict=True))
    np.savez(tmp_path / "p.npz", **{**right, "about": np.array(json.dumps(about)), **changes})
    with pytest.raises(DamagedError, match=words):
        predictions.read(tmp_path / "p.npz")
