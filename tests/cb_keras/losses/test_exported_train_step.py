"""A train step in a SavedModel, as docs/guide/exports.md says, trains on with TensorFlow alone."""

import json
import os
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
from scipy.special import softmax

import cb_keras
from tests import HANG_SECONDS

if keras.backend.backend() != "tensorflow":
    pytest.skip("SavedModels are TensorFlow's", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "guide" / "exports.md").read_text()
X = np.random.default_rng(0).normal(size=(8, 4))
LABELS = np.array([0, 0, 0, 1, 1, 2, 0, 2])
LOAD = """
import json, sys
import numpy as np
import tensorflow as tf

trainer = tf.saved_model.load("trainer")
x, labels = np.load("x.npy").astype("float32"), np.load("labels.npy").astype("int32")
losses = [float(trainer.step(x, labels)) for _ in range(3)]
trainer.class_weights.assign([0.0, 0.0, 0.0])
losses.append(float(trainer.step(x, labels)))
print(json.dumps([losses, "cb_keras" in sys.modules]))
"""
BY_FUNCTION = """
class Fixed(Trainer):
    def __init__(self):
        super().__init__()
        weights = cb_keras.class_balanced_weights([90, 9, 3])
        function = cb_keras.functional.class_balanced_softmax_crossentropy
        self.loss = lambda labels, logits: tf.reduce_mean(function(labels, logits, weights))
        self.class_weights = tf.Variable([1.0, 1.0, 1.0])  # of no use

fixed = Fixed()
fixed.step(tf.zeros((1, 4)), tf.constant([0]))  # traced before it is saved
fixed.kernel.assign(tf.zeros((4, 3)))
tf.saved_model.save(fixed, "trainer")
"""


def run(script, folder):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected_losses(steps):
    """Weighted cross-entropies of gradient descent, in float64."""
    weights = np.asarray(cb_keras.class_balanced_weights([90, 9, 3]), "float64")[LABELS]
    kernel, losses = np.zeros((4, 3)), []
    for _ in range(steps):
        p = softmax(X @ kernel, axis=-1)
        losses.append(np.mean(-weights * np.log(p[np.arange(8), LABELS])))
        kernel -= 0.1 * X.T @ (weights[:, None] * (p - np.eye(3)[LABELS])) / 8
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("how", ["the weights as an attribute", "a function"])
def test_the_page_s_train_step_trains_in_a_process_without_the_package(tmp_path, how):
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    if how == "a function":
        block, count = re.subn(r'tf\.saved_model\.save\(.*?"\)\n', BY_FUNCTION, block)
        assert count == 1
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "labels.npy", LABELS)
    run(block, tmp_path)
    losses, ours = json.loads(run(LOAD, tmp_path).splitlines()[-1])
    assert not ours
    np.testing.assert_allclose(losses[:3], expected_losses(3), rtol=1e-5)
    if how == "a function":
        np.testing.assert_allclose(losses[3], expected_losses(4)[3], rtol=1e-5)
    else:
        assert losses[3] == 0.0  # of the weights that were assigned


@pytest.mark.slow
def test_without_the_line_that_the_page_marks_nothing_is_saved(tmp_path):
    block = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0]
    without, count = re.subn(r"\n.*# a SavedModel needs this line", "", block)
    assert count == 1
    with pytest.raises(AssertionError, match="untracked"):
        run(without, tmp_path)
