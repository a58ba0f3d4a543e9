"""The metrics inside of `fit` and `evaluate`, and as what callbacks monitor."""

import keras
import numpy as np
import pytest

from cb_keras import metrics
from tests.cb_keras.cases import MODES
from tests.cb_keras.gradients import BACKEND
from tests.cb_keras.metrics import cases


def all_metrics():
    return [
        metrics.BalancedAccuracy(10),
        metrics.GeometricMean(10),
        metrics.MacroF1(10),
        metrics.ShotAccuracy(cases.COUNTS),
        metrics.ExpectedCalibrationError(),
        metrics.PerClassRecall(10),
        metrics.PerClassRecall(10, 3),
    ]


def model_of(mode="graph", learning_rate=0.0, **kwargs):
    """Its logits are its inputs, for good at a rate of 0."""
    if BACKEND == "torch" and mode == "compiled":
        pytest.skip("`jit_compile` is XLA's; on PyTorch Keras would need a C++ compiler")
    model = keras.Sequential([keras.Input((10,)), keras.layers.Dense(10, use_bias=False)])
    model.set_weights([np.eye(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(learning_rate), loss, **MODES[mode], **kwargs)
    return model


# The mode of each backend that differs most from the calls of the other tests.
FAST = "graph" if BACKEND == "torch" else "compiled"


@pytest.mark.parametrize(
    "mode", [m if m == FAST else pytest.param(m, marks=pytest.mark.slow) for m in MODES]
)
def test_fit_and_evaluate_report_every_figure_by_name(mode):
    labels, logits = cases.digits()
    weight = np.random.default_rng(0).uniform(0.2, 3, 900)
    model = model_of(mode, weighted_metrics=all_metrics())
    scalars = [m.name for m in all_metrics() if m.name != "recall"]
    stops = {name: keras.callbacks.EarlyStopping(f"val_{name}") for name in scalars}
    data = logits, labels, weight
    history = model.fit(
        *(logits, labels, 300),
        sample_weight=weight,
        validation_data=data,
        callbacks=[*stops.values()],
        verbose=0,
    ).history
    recalls = cases.recalls(labels, logits, weight)
    expected = {
        "balanced_accuracy": recalls.mean(),
        "geometric_mean": cases.geometric_mean(labels, logits, weight),
        "macro_f1": cases.macro_f1(labels, logits, weight),
        "few_accuracy": cases.few_accuracy(labels, logits, weight),
        "ece": cases.calibration_error(labels, logits, weight),
        **{f"recall_{c}": recalls[c] for c in range(10)},
    }
    for name, right in expected.items():
        assert history[name] == pytest.approx([right], abs=1e-6), name
        assert history[f"val_{name}"] == pytest.approx([right], abs=1e-6), name
    for name, stop in stops.items():
        assert stop.monitor_op is (keras.ops.less if name == "ece" else keras.ops.greater)


@pytest.mark.slow
def test_callbacks_keep_the_best_epoch_of_a_figure(tmp_path):
    best = {
        "macro_f1": max,
        "few_accuracy": max,
        "geometric_mean": max,
        "recall_3": max,
        "ece": min,
    }
    labels, logits = cases.digits()
    # At this rate the figures rise and fall from epoch to epoch.
    model = model_of(learning_rate=0.5, metrics=[m for m in all_metrics() if m.name in best])
    callbacks = [
        keras.callbacks.ModelCheckpoint(
            tmp_path / f"{name}.weights.h5",
            f"val_{name}",
            save_best_only=True,
            save_weights_only=True,
        )
        for name in best
    ]
    data = logits[600:], labels[600:]
    history = model.fit(
        *(logits[:600], labels[:600], 200),
        epochs=8,
        validation_data=data,
        callbacks=callbacks,
        shuffle=False,
        verbose=0,
    ).history
    assert sum(len(set(history[f"val_{name}"])) > 1 for name in best) >= 4
    for name, better in best.items():
        model.load_weights(tmp_path / f"{name}.weights.h5")
        found = model.evaluate(*data, return_dict=True, verbose=0)[name]
        assert found == pytest.approx(better(history[f"val_{name}"]), abs=1e-6)


@pytest.mark.slow
def test_one_figure_of_a_dict_is_monitored_with_a_mode():
    labels, logits = cases.digits()
    model = model_of(metrics=[metrics.PerClassRecall(10, name="found")])
    stop = keras.callbacks.EarlyStopping("val_found_9", mode="max", patience=1)
    data = logits[:300], labels[:300]
    model.fit(*data, epochs=5, validation_data=data, callbacks=[stop], verbose=0)
    assert model.history.epoch == [0, 1]  # no better in the second epoch


@pytest.mark.parametrize("mode", [FAST, "eager"])
def test_recalls_of_several_outputs_and_of_weighted_metrics_have_figures_of_their_own(mode):
    labels, logits = cases.digits()
    weight = np.random.default_rng(0).uniform(0.2, 3, 900)
    inputs = keras.Input((10,))
    outputs = {
        name: keras.layers.Dense(10, use_bias=False, name=name)(inputs) for name in ("a", "b")
    }
    model = keras.Model(inputs, outputs)
    reversed_logits = logits[:, ::-1]
    model.get_layer("a").set_weights([np.eye(10)])
    model.get_layer("b").set_weights([np.eye(10)[::-1]])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.SGD(0.0),
        {"a": loss, "b": loss},
        metrics={name: [metrics.PerClassRecall(10)] for name in outputs},
        weighted_metrics={"a": [metrics.PerClassRecall(10)]},
        **MODES[mode],
    )
    targets, weights = {"a": labels, "b": labels}, {"a": weight, "b": np.ones(900)}
    model.fit(logits, targets, 300, sample_weight=weights, verbose=0)
    found = model.evaluate(logits, targets, 300, sample_weight=weights, verbose=0, return_dict=True)
    expected = {
        "a_recall": cases.recalls(labels, logits),
        "a_weighted_recall": cases.recalls(labels, logits, weight),
        "b_recall": cases.recalls(labels, reversed_logits),
    }
    for logs in ({k: v[-1] for k, v in model.history.history.items()}, found):
        assert sorted(k for k in logs if "recall" in k) == sorted(
            f"{name}_{c}" for name in expected for c in range(10)
        )
        for name, recalls in expected.items():
            ours = [logs[f"{name}_{c}"] for c in range(10)]
            np.testing.assert_allclose(ours, recalls, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_compiled_model_is_saved_and_loaded_with_its_metrics(tmp_path):
    labels, logits = cases.digits()
    model = model_of(metrics=all_metrics())
    found = model.evaluate(logits, labels, return_dict=True, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(logits, labels, return_dict=True, verbose=0) == pytest.approx(found)
