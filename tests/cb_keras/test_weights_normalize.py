"""`normalize` and `empty` of the class weights and the losses, against mpmath's 60 digits."""

import keras
import numpy as np
import pytest
from keras import ops

import cb_keras
from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES, kinds

COUNTS = [1, 2, 3, *(10**k for k in range(1, 10))]
CIFAR = [5000, 3237, 2096, 1357, 878, 568, 368, 238, 154, 100]
BETAS = [0, 0.9999, 1 - 1e-9, 1]
POWERS = [0, 0.5, 1, 2, -1]
betas_and_powers = pytest.mark.parametrize(
    ("beta", "power"), [(beta, power) for beta in BETAS for power in POWERS]
)


@betas_and_powers
def test_normalized_by_examples_the_mean_weight_of_the_training_examples_is_1(beta, power):
    result = cb_keras.class_balanced_weights(COUNTS, beta, power, normalize="examples")
    assert result.dtype == np.float32
    exact = reference.exact_weights(COUNTS, beta, power)
    np.testing.assert_allclose(result, exact / np.average(exact, weights=COUNTS), rtol=1e-6)
    mean = np.average(result.astype("float64"), weights=COUNTS)
    np.testing.assert_allclose(mean, 1, rtol=1e-6)


def test_weights_normalized_by_examples_by_hand():
    # Inverse frequency: 1/3 and 1 have the mean (3/3 + 1) / 4 = 1/2 over the four examples.
    result = cb_keras.class_balanced_weights([3, 1], beta=1, normalize="examples")
    np.testing.assert_allclose(result, [2 / 3, 2], rtol=1e-6)


@pytest.mark.parametrize("power", [1e6, -1e6, 1e300])
def test_a_huge_power_gives_all_weight_to_one_class_and_the_mean_stays_1(power):
    result = cb_keras.class_balanced_weights(CIFAR, power=power, normalize="examples")
    heavy = 9 if power > 0 else 0
    expected = np.zeros(10)
    expected[heavy] = sum(CIFAR) / CIFAR[heavy]
    np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("normalize", ["classes", "examples"])
@betas_and_powers
def test_an_empty_class_weighs_0_and_the_others_as_if_it_were_not_there(beta, power, normalize):
    counts = np.array([0, 5000, 0, 1, 100, 0])
    result = cb_keras.class_balanced_weights(counts, beta, power, normalize, empty="zero")
    kept = cb_keras.class_balanced_weights(counts[counts > 0], beta, power, normalize)
    np.testing.assert_array_equal(result[counts == 0], [0, 0, 0])
    np.testing.assert_array_equal(result[counts > 0], kept)
    if normalize == "classes":
        np.testing.assert_allclose(result.sum(), 3, rtol=1e-6)


def test_without_empty_classes_empty_changes_nothing():
    np.testing.assert_array_equal(
        cb_keras.class_balanced_weights(CIFAR, empty="zero"), cb_keras.class_balanced_weights(CIFAR)
    )


def test_an_empty_class_is_refused_with_the_remedy_unless_it_may_be_empty():
    with pytest.raises(ValueError, match=r"class 1 has 0\..* or give it the weight 0, empty="):
        cb_keras.class_balanced_weights([5, 0])
    with pytest.raises(ValueError, match=r"whole numbers >= 0, but class 1 has -1\.$"):
        cb_keras.class_balanced_weights([5, -1], empty="zero")
    with pytest.raises(ValueError, match=r"has no class with examples, got \[0, 0\]"):
        cb_keras.class_balanced_weights([0, 0], empty="zero")


@pytest.mark.parametrize("name", ["normalize", "empty"])
@pytest.mark.parametrize("value", ["mean", None, True])
def test_other_words_are_refused_with_those_there_are(name, value):
    words = {"normalize": '"classes" or "examples"', "empty": '"raise" or "zero"'}[name]
    for call in (cb_keras.class_balanced_weights, CLASSES["focal"]):
        with pytest.raises(ValueError, match=f"`{name}` must be {words}, got {value!r}"):
            call([5, 3], **{name: value})


LABELS = np.array([0, 2, 3, 1, 0])
LOGITS = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")


@kinds
def test_a_loss_has_the_weights_that_normalize_and_empty_ask_for(kind):
    counts, arguments = [50, 7, 0, 20], {"normalize": "examples", "empty": "zero"}
    loss = CLASSES[kind](counts, power=0.5, reduction=None, **arguments)
    weights = cb_keras.class_balanced_weights(counts, power=0.5, **arguments)
    np.testing.assert_array_equal(ops.convert_to_numpy(loss.class_weights), weights)
    targets = reference.one_hot(LABELS, 4)
    expected = reference.loss(kind, LOGITS, targets, weights.astype("float64")[LABELS])
    np.testing.assert_allclose(ops.convert_to_numpy(loss(LABELS, LOGITS)), expected, rtol=1e-5)
    assert expected[1] == 0


@kinds
def test_the_configuration_of_a_loss_keeps_normalize_and_empty(kind):
    loss = CLASSES[kind]([50, 7, 0, 20], normalize="examples", empty="zero")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert again.get_config() == loss.get_config()
    assert (again.normalize, again.empty) == ("examples", "zero")
    np.testing.assert_array_equal(
        *map(ops.convert_to_numpy, (again.class_weights, loss.class_weights))
    )
    loss.class_weights.assign([1.0, 2.0, 3.0, 4.0])
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_array_equal(ops.convert_to_numpy(again.class_weights), [1, 2, 3, 4])


@kinds
def test_given_weights_are_not_normalized(kind):
    message = "`normalize`='examples' and `empty`='raise' have no effect on `class_weights`"
    with pytest.raises(ValueError, match=message):
        CLASSES[kind](class_weights=[1.0, 2.0], normalize="examples")
