"""The loss classes: values, reductions, sample weights, masks, arguments and messages.

Hand numbers are made of logits (0, log 2): softmax gives p = 1/3, 2/3, sigmoid p = 1/2, 2/3.
"""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

import cb_keras
from tests.cb_keras import reference
from tests.cb_keras.cases import (
    CLASSES,
    COUNTS,
    IDS,
    LOGITS,
    expected_losses,
    kinds,
    kinds_both_ways,
    number,
)

LOG2, LOG3 = np.log(2), np.log(3)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("softmax", LOG3, LOG3 - LOG2),
        ("sigmoid", LOG2 + LOG3, LOG2 + LOG3 - LOG2),
        ("focal", LOG2 / 2 + 2 / 3 * LOG3, LOG2 / 2 + (LOG3 - LOG2) / 3),
    ],
)
def test_loss_by_hand_divides_by_the_batch_not_by_the_weights(kind, first, second):
    # Counts 1 and 2, beta 0.5: E = 1, 3/2, weights 2 * (3/5, 2/5) = 6/5, 4/5.
    value = CLASSES[kind]([1, 2], beta=0.5)(np.array([0, 1, 1]), np.tile([0, LOG2], (3, 1)))
    np.testing.assert_allclose(number(value), (6 / 5 * first + 2 * 4 / 5 * second) / 3, rtol=1e-6)


@kinds_both_ways
def test_the_mean_loss_is_the_float64_reference(kind):
    value = number(CLASSES[kind](COUNTS)(IDS, LOGITS))
    np.testing.assert_allclose(value, expected_losses(kind).mean(), rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gamma_reaches_the_loss(gamma):
    value = number(CLASSES["focal"](COUNTS, gamma=gamma)(IDS, LOGITS))
    expected = expected_losses("focal", gamma=gamma).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@kinds
def test_from_logits_false_takes_probabilities(kind):
    to_probabilities = ops.softmax if kind == "softmax" else ops.sigmoid
    probabilities = to_probabilities(ops.convert_to_tensor(LOGITS, "float32"))
    value = number(CLASSES[kind](COUNTS, from_logits=False)(IDS, probabilities))
    np.testing.assert_allclose(value, expected_losses(kind).mean(), rtol=1e-5)


@pytest.mark.parametrize("sample_weight", [None, [1.0, 0.5, 0.0, 2.0]])
@pytest.mark.parametrize(
    "reduction", ["sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", None, "none"]
)
@kinds_both_ways
def test_every_reduction_with_and_without_sample_weights(kind, reduction, sample_weight):
    loss = CLASSES[kind](COUNTS, reduction=reduction)
    weight = np.ones(4) if sample_weight is None else np.array(sample_weight)
    weighted = expected_losses(kind) * weight
    expected = {
        "sum_over_batch_size": weighted.mean(),
        "mean": weighted.mean(),
        "sum": weighted.sum(),
        "mean_with_sample_weight": weighted.sum() / weight.sum(),
        None: weighted,
        "none": weighted,
    }[reduction]
    value = number(loss(IDS, LOGITS, sample_weight=sample_weight))
    assert value.shape == expected.shape
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@kinds_both_ways
def test_labels_and_sample_weights_may_have_a_last_axis_of_one(kind, shape):
    weight = np.array([1.0, 0.5, 0.0, 2.0])
    value = number(CLASSES[kind](COUNTS)(IDS.reshape(shape), LOGITS, weight.reshape(shape)))
    np.testing.assert_allclose(value, (expected_losses(kind) * weight).mean(), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        *(("softmax", "ids"), ("softmax", "one-hot"), ("sigmoid", "ids with an axis")),
        *(("focal", "one-hot"), ("focal", "ids")),
    ],
)
@pytest.mark.usefixtures("both_ways")
def test_images_of_logits_with_a_weight_per_pixel(kind, labels, rng):
    logits, ids = rng.normal(size=(2, 3, 4, 3)), rng.integers(0, 3, (2, 3, 4))
    weight = rng.uniform(size=(2, 3, 4))
    y = {"ids": ids, "ids with an axis": ids[..., None], "one-hot": reference.one_hot(ids, 3)}
    losses = expected_losses(kind, ids, logits)
    loss = CLASSES[kind](COUNTS)
    np.testing.assert_allclose(number(loss(y[labels], logits)), losses.mean(), rtol=1e-5)
    value = number(loss(y[labels], logits, weight))
    np.testing.assert_allclose(value, (losses * weight).mean(), rtol=1e-5)


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum"])
@kinds_both_ways
def test_masked_steps_do_not_count(kind, reduction):
    table = np.concatenate([np.zeros((1, 3)), LOGITS])
    embedding = keras.layers.Embedding(5, 3, mask_zero=True, weights=[table.astype("float32")])
    y_pred = embedding(np.array([[1, 2, 0], [4, 0, 0]]))  # logits 0, 1 and 3; the rest is padding
    labels = np.array([[0, 1, 2], [2, 0, 1]])
    kept = expected_losses(kind)[[0, 1, 3]]
    expected = kept.sum() if reduction == "sum" else kept.mean()
    value = number(CLASSES[kind](COUNTS, reduction=reduction)(labels, y_pred))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("kind", ["sigmoid", "focal"])
def test_multi_hot_labels_have_the_mean_weight_of_their_classes(kind):
    labels, weights = np.array([[1, 1, 0], [0, 0, 0]]), [0.2, 0.6, 2.2]
    expected = reference.loss(kind, LOGITS[:2], labels, np.array([0.4, 1.0])).mean()
    value = number(CLASSES[kind](class_weights=weights)(labels, LOGITS[:2]))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@kinds_both_ways
def test_class_weights_are_used_as_they_are(kind):
    weights = np.array([0.0, 5.0, 0.5])
    value = number(CLASSES[kind](class_weights=weights, reduction=None)(IDS, LOGITS))
    expected = reference.loss(kind, LOGITS, reference.one_hot(IDS, 3), weights[IDS])
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    assert value[0] == 0


@kinds
def test_the_weights_come_from_counts_beta_and_power(kind):
    loss = CLASSES[kind](COUNTS, beta=0.99, power=2)
    expected = cb_keras.class_balanced_weights(COUNTS, 0.99, 2)
    np.testing.assert_array_equal(number(loss.class_weights), expected)
    assert loss.class_weights.dtype == "float32"
    assert not loss.class_weights.trainable


@kinds_both_ways
def test_power_zero_is_the_unweighted_loss(kind):
    value = number(CLASSES[kind](COUNTS, power=0)(IDS, LOGITS))
    expected = reference.loss(kind, LOGITS, reference.one_hot(IDS, 3)).mean()
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@kinds_both_ways
def test_assigned_weights_are_used_by_the_next_call(kind):
    loss = CLASSES[kind](COUNTS)
    before = number(loss(IDS, LOGITS))
    loss.class_weights.assign(2 * loss.class_weights)
    np.testing.assert_allclose(number(loss(IDS, LOGITS)), 2 * before, rtol=1e-6)


@kinds
def test_either_counts_or_weights(kind):
    with pytest.raises(ValueError, match=r"either `class_counts` .* or `class_weights`, got neith"):
        CLASSES[kind]()
    with pytest.raises(ValueError, match=r"either `class_counts` .* or `class_weights`, got both"):
        CLASSES[kind](COUNTS, class_weights=[1, 1, 1])


@pytest.mark.parametrize(("name", "value"), [("beta", 0.99), ("power", 0.5)])
@kinds
def test_beta_or_power_next_to_class_weights_is_refused(kind, name, value):
    with pytest.raises(ValueError, match=f"`{name}`={value}.* no effect on `class_weights`"):
        CLASSES[kind](class_weights=[1, 1, 1], **{name: value})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"class_counts": [3, 0]}, "class 1 has 0"),
        ({"class_counts": []}, "`class_counts` must be a list"),
        ({"class_counts": [3, 2], "beta": 1.5}, r"`beta` must be in \[0, 1\], got 1.5"),
        ({"class_counts": [3, 2], "power": float("nan")}, "`power` must be finite, got nan"),
        ({"class_counts": [3, 2], "reduction": "median"}, "reduction=median"),
        ({"class_weights": [1.0, -2.0]}, r"finite and >= 0, but class 1 has -2\.0"),
        ({"class_weights": [float("nan"), 1]}, "finite and >= 0, but class 0 has nan"),
        ({"class_weights": [1.0, float("inf")]}, "finite and >= 0, but class 1 has inf"),
        ({"class_weights": [[1.0, 2.0]]}, r"`class_weights` must be numbers .*\(1, 2\)"),
        ({"class_weights": []}, r"`class_weights` must be numbers .*\(0,\)"),
    ],
)
@kinds
def test_bad_arguments_are_refused_with_their_value(kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        CLASSES[kind](**arguments)


def test_more_classes_than_float32_labels_can_tell_apart_are_refused():
    with pytest.raises(ValueError, match="at most 16777216 classes"):
        CLASSES["softmax"](class_weights=np.ones(2**24 + 1, "float32"))


@pytest.mark.parametrize("gamma", [-1, float("nan"), float("inf"), True])
def test_gamma_is_checked_when_the_loss_is_made(gamma):
    with pytest.raises(ValueError, match=f"`gamma` must be a finite number >= 0, got {gamma}"):
        CLASSES["focal"](COUNTS, gamma=gamma)


@pytest.mark.parametrize(
    ("labels", "logits", "message"),
    [
        (np.zeros(2), np.zeros((2, 4)), r"`y_pred` has 4 classes .*\(2, 4\).* are 3 class"),
        (np.zeros(3), np.zeros((2, 3)), r"`y_true` has shape \(3,\).* \(2, 3\)"),
        (np.zeros((2, 2)), np.zeros((2, 3)), r"`y_true` has shape \(2, 2\).* \(2, 3\)"),
        (np.zeros((2, 4)), np.zeros((2, 3)), r"`y_true` has shape \(2, 4\).* \(2, 3\)"),
    ],
)
@kinds
def test_labels_and_logits_that_do_not_fit_are_refused(kind, labels, logits, message):
    with pytest.raises(ValueError, match=message):
        CLASSES[kind](COUNTS)(labels, logits)


@pytest.mark.parametrize("argument", ["class_counts", "class_weights"])
@kinds
def test_one_class_is_refused_since_its_count_or_weight_balances_nothing(kind, argument):
    with pytest.raises(ValueError, match=rf"`{argument}` has one class.*ClassBalancedBinaryCross"):
        CLASSES[kind](**{argument: [15]})


@pytest.mark.parametrize("labels", [(2,), (2, 1)])
@kinds
def test_a_model_with_one_output_is_told_of_the_loss_for_it(kind, labels):
    with pytest.raises(
        ValueError, match=r"1 classes .*BinaryCrossentropy.*\[n_negative, n_positive\]"
    ):
        CLASSES[kind]([90, 10])(np.zeros(labels, "int32"), np.zeros((2, 1)))


@kinds
def test_the_docstring_names_every_argument(kind):
    cls = CLASSES[kind]
    code = cls.__init__.__code__
    words = inspect.cleandoc(cls.__doc__)  # Python 3.13 takes the indentation away itself
    for name in code.co_varnames[1 : code.co_argcount]:
        assert f"\n    {name}: " in words
