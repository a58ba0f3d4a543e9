"""What a call of a loss works out, it works out once: each costs time in every eager step."""

import collections
import warnings

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import checks, fused
from cb_keras.checks import labels as labels_module
from cb_keras.functional import preparation
from cb_keras.losses import base
from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, WEIGHTS, kinds_both_ways, number

FORMS = {
    "ids": IDS,
    "ids with an axis": IDS[:, None],
    "one-hot": reference.one_hot(IDS, 3),
    "floats": IDS.astype("float64"),
}
forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture
def calls(monkeypatch):
    """How often each function was called, by name; whoever imported it calls the counted one."""
    numbers = collections.Counter()

    def count(name, *modules):
        original = getattr(modules[0], name)

        def counted(*args, **kwargs):
            numbers[name] += 1
            return original(*args, **kwargs)

        for module in modules:
            if hasattr(module, name):
                monkeypatch.setattr(module, name, counted)

    count("check_labels", labels_module, checks, base, preparation, fused)
    count("to_tensors", labels_module, checks, base, preparation)
    count("why_not", fused)
    count("warn_of_activation", checks.activation, checks, base, preparation)
    return numbers


def in_tf_function(function):
    import tensorflow as tf

    return tf.function(function)


@forms
@kinds_both_ways
def test_labels_are_checked_once_and_the_op_is_asked_for_once(kind, form, calls):
    loss = CLASSES[kind](COUNTS, reduction=None)
    runs = [loss]
    if keras.backend.backend() == "tensorflow" and form == "ids with an axis":
        runs.append(in_tf_function(loss))
    for run in runs:
        for sample_weight in (None, np.ones(4, "float32")):
            calls.clear()
            run(FORMS[form], LOGITS.astype("float32"), sample_weight)
            assert calls["check_labels"] <= 1  # none where their form shows that they fit
            assert calls["to_tensors"] == calls["warn_of_activation"] == 1
            # Once more to leave class ids to the op, which costs microseconds and saves ten times.
            assert 1 <= calls["why_not"] <= 2


@forms
@kinds_both_ways
def test_call_by_itself_checks_labels_of_every_form(kind, form):
    loss = CLASSES[kind](class_weights=WEIGHTS, reduction=None)
    expected = number(loss(FORMS[form], LOGITS.astype("float32")))
    y_true, y_pred = ops.convert_to_tensor(FORMS[form]), ops.convert_to_tensor(LOGITS, "float32")
    np.testing.assert_array_equal(number(loss.call(y_true, y_pred)), expected)
    listed = loss.call(FORMS[form].tolist(), LOGITS.astype("float32").tolist())
    np.testing.assert_allclose(number(listed), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        (np.zeros(3, "int32"), LOGITS, r"`y_true` has shape \(3,\)"),
        (np.zeros((4, 2), "float32"), LOGITS, r"`y_true` has shape \(4, 2\)"),
        (IDS, LOGITS[:, :2], "2 classes .* but there are 3 class counts"),
        (IDS, np.zeros((4, 1)), "1 classes .* but there are 3 class counts"),
        (IDS.astype("float16"), LOGITS, "class ids as float16"),
    ],
)
@kinds_both_ways
def test_call_by_itself_refuses_what_does_not_fit(kind, labels, logits, message):
    loss = CLASSES[kind](COUNTS)
    with pytest.raises(ValueError, match=message):
        loss.call(ops.convert_to_tensor(labels), ops.convert_to_tensor(logits, "float32"))


@kinds_both_ways
def test_one_warning_says_that_the_predictions_are_probabilities(kind):
    predictions = keras.layers.Activation("softmax")(LOGITS.astype("float32"))
    loss = CLASSES[kind](COUNTS, fused=False)
    runs = [loss]
    if keras.backend.backend() == "tensorflow":
        runs.append(in_tf_function(lambda y, z: loss(y, ops.softmax(z))))
    for run in runs:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            run(IDS, predictions)
        assert len([w for w in found if "taken for logits" in str(w.message)]) == 1
