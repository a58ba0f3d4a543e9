"""The losses, counts and metrics on JAX and PyTorch where TensorFlow is not installed."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

import cb_keras
from tests import HANG_SECONDS
from tests.cb_keras import reference
from tests.cb_keras.gradients import BACKEND

ROOT = pathlib.Path(__file__).parent.parent.parent
COUNTS, IDS = [900, 90, 9], [0, 1, 2, 2]
LOGITS = [[2.0, -1.0, 0.5], [0.0, 3.0, -2.0], [-4.0, 1.0, 1.5], [0.25, 0.5, -1.0]]
SCRIPT = '''
import json, sys

class Without:
    """A finder that does not find TensorFlow; PyTorch asks whether there is one."""

    def __init__(self, finder):
        self._finder = finder

    def __getattr__(self, name):
        return getattr(self._finder, name)

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "tensorflow":
            return None
        return self._finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path if hasattr(finder, "find_spec")]
import cb_keras
import keras
import numpy as np
from cb_keras import losses
from tests.cb_keras.gradients import value_and_gradient

counts, ids, logits = json.loads(sys.argv[1])
logits = np.array(logits, "float32")
one_hot = np.eye(3, dtype="float32")[ids]
pairs = [[100, 10], [10, 100], [50, 50]]
made = {
    "softmax": losses.ClassBalancedSoftmaxCrossentropy(counts, ignore_class=255),
    "softmax_focal": losses.ClassBalancedSoftmaxFocalCrossentropy(counts, ignore_class=255),
    "sigmoid": losses.ClassBalancedSigmoidCrossentropy(counts, ignore_class=255),
    "focal": losses.ClassBalancedFocalCrossentropy(counts, ignore_class=255),
    "binary": losses.ClassBalancedBinaryCrossentropy(pairs),
    "asymmetric": losses.AsymmetricCrossentropy(),
}
report = {"losses": {}}
for name, loss in made.items():
    labels = one_hot if name in ("binary", "asymmetric") else np.array(ids)
    value, gradient = value_and_gradient(lambda z: loss(labels, z), logits)
    report["losses"][name] = [float(value), gradient.tolist()]
model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
model.compile("sgd", made["softmax"], metrics=[cb_keras.metrics.MacroF1(3)])
report["history"] = model.fit(logits, np.array(ids), verbose=0).history
metric = cb_keras.metrics.BalancedAccuracy(3)
metric.update_state(ids, logits)
report["balanced_accuracy"] = float(metric.result())
report["class_counts"] = cb_keras.class_counts(ids).tolist()
report["tensorflow"] = "tensorflow" in sys.modules
print(json.dumps(report))
'''


@pytest.mark.skipif(BACKEND == "tensorflow", reason="where TensorFlow is not needed")
def test_losses_counts_and_metrics_need_no_tensorflow():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([COUNTS, IDS, LOGITS])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert not report["tensorflow"]
    assert report["class_counts"] == [1, 1, 2]
    assert report["balanced_accuracy"] == pytest.approx((1 + 1 + 1 / 2) / 3)
    assert np.isfinite([*report["history"]["loss"], *report["history"]["macro_f1"]]).all()
    weights = cb_keras.class_balanced_weights(COUNTS)[IDS]
    logits, targets = np.array(LOGITS), reference.one_hot(IDS, 3)
    for kind in ("softmax", "softmax_focal", "sigmoid", "focal"):
        value, gradient = report["losses"].pop(kind)
        right = reference.loss(kind, logits, targets, weights)
        np.testing.assert_allclose(value, right.mean(), rtol=1e-5, err_msg=kind)
        right = reference.gradient(kind, logits, targets, weights) / len(IDS)
        np.testing.assert_allclose(gradient, right, rtol=1e-4, atol=1e-6, err_msg=kind)
    assert set(report["losses"]) == {"binary", "asymmetric"}
    for value, gradient in report["losses"].values():
        assert value > 0
        assert np.isfinite(gradient).all()
        assert (np.sign(gradient)[targets == 1] == -1).all()
