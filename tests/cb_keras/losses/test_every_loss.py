"""What every public loss keeps, whoever adds it: one that is not in EVERY_LOSS fails here."""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import losses, private_api
from tests.cb_keras.cases import COUNTS, EVERY_LOSS, LOGITS
from tests.cb_keras.gradients import value_and_gradient

PUBLIC = [name for name in losses.__all__ if isinstance(getattr(losses, name), type)]
every_loss = pytest.mark.parametrize("name", EVERY_LOSS)


def test_every_public_loss_is_in_the_list_that_these_tests_share():
    assert {*EVERY_LOSS} == {*PUBLIC}
    for name, (make, _) in EVERY_LOSS.items():
        assert type(make()) is getattr(losses, name)


def values(loss, labels, outputs, **options):
    labels, outputs = ops.convert_to_tensor(labels), ops.convert_to_tensor(outputs, "float32")
    return ops.convert_to_numpy(loss(labels, outputs, **options))


@every_loss
@pytest.mark.parametrize("wild", [np.nan, np.inf, 3e38])
def test_an_example_of_weight_0_has_loss_and_gradient_0_whatever_its_logits_are(name, wild):
    make, labels = EVERY_LOSS[name]
    loss, weights = make(reduction="sum"), np.array([1.0, 0.0, 2.0, 1.0])
    logits = LOGITS.copy()
    logits[1, 1] = wild
    right = value_and_gradient(lambda z: loss(labels, z, sample_weight=weights), LOGITS)
    found = value_and_gradient(lambda z: loss(labels, z, sample_weight=weights), logits)
    np.testing.assert_allclose(found[0], right[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], right[1], rtol=1e-6, atol=1e-9)
    assert not found[1][1].any()
    assert found[1][[0, 2, 3]].any(axis=-1).all()


@every_loss
def test_a_void_example_is_as_if_it_were_not_there(name):
    make, labels = EVERY_LOSS[name]
    kept, void, logits = np.array([0, 2, 3]), np.array(labels), LOGITS.copy()
    void[1], logits[1] = -1, [np.inf, -np.inf, np.nan]
    right = value_and_gradient(lambda z: make(reduction="sum")(labels[kept], z), LOGITS[kept])
    loss = make(reduction="sum", ignore_class=-1)
    found = value_and_gradient(lambda z: loss(void, z), logits)
    np.testing.assert_allclose(found[0], right[0], rtol=1e-5)
    np.testing.assert_allclose(found[1][kept], right[1], rtol=1e-5, atol=1e-7)
    assert not found[1][1].any()
    mean = values(make(ignore_class=-1), void, logits)  # over the examples that count
    np.testing.assert_allclose(mean, right[0] / len(kept), rtol=1e-5)


@every_loss
def test_probabilities_have_the_loss_of_their_logits_or_are_not_taken(name):
    make, labels = EVERY_LOSS[name]
    if "from_logits" not in inspect.signature(getattr(losses, name)).parameters:
        with pytest.raises(TypeError, match="from_logits"):
            make(from_logits=False)
        return
    z = ops.convert_to_tensor(LOGITS, "float32")
    exclusive = "Softmax" in name
    outputs = ops.convert_to_numpy(ops.softmax(z) if exclusive else ops.sigmoid(z))
    found = values(make(from_logits=False, reduction="none"), labels, outputs)
    right = values(make(reduction="none"), labels, LOGITS)
    np.testing.assert_allclose(found, right, rtol=1e-4)
    assert not np.allclose(values(make(reduction="none"), labels, outputs), right, rtol=0.01)


@every_loss
def test_a_label_that_is_none_is_refused_or_its_loss_is_nan(name):
    make, labels = EVERY_LOSS[name]
    wrong = np.array(labels)
    wrong[2] = len(COUNTS) if wrong.ndim == 1 else -1
    with pytest.raises(ValueError, match=r"`y_true` holds"):
        values(make(), wrong, LOGITS)


@every_loss
def test_its_configuration_makes_it_again(name):
    make, labels = EVERY_LOSS[name]
    loss = make(reduction="sum", name="mine")
    again = keras.losses.deserialize(keras.losses.serialize(loss))
    assert (type(again), again.name) == (type(loss), "mine")
    assert again.get_config() == loss.get_config()
    given = {n for n in inspect.signature(getattr(losses, name)).parameters if n != "dtype"}
    assert given <= set(loss.get_config())
    np.testing.assert_array_equal(values(again, labels, LOGITS), values(loss, labels, LOGITS))


class InACall(keras.layers.Layer):
    """Adds a loss, or counts, of the batch that it is called on, and passes it on."""

    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def call(self, logits, labels):
        self.add_loss(self.loss(labels, logits))
        return logits


@every_loss
def test_it_can_be_in_a_layer_of_a_functional_model_whose_batches_have_no_size_yet(name):
    make, labels = EVERY_LOSS[name]
    inputs = keras.Input(LOGITS.shape[1:]), keras.Input(np.shape(labels)[1:])
    loss = make()
    model = keras.Model(inputs, InACall(loss)(*inputs))
    for rows in (slice(4), slice(3)):
        of = LOGITS[rows].astype("float32"), np.asarray(labels[rows], "float32")
        model.compile(loss=None)
        measured = model.evaluate(of, verbose=0)
        assert measured == pytest.approx(float(values(loss, *of[::-1])), rel=1e-5)


@every_loss
@pytest.mark.parametrize("of_each", ["step", "sequence"])
def test_sample_weights_of_masked_steps_stay_those_of_the_caller(name, of_each):
    make, labels = EVERY_LOSS[name]
    loss, labels = make(), np.reshape(labels, (2, 2, *np.shape(labels)[1:]))
    logits = ops.convert_to_tensor(LOGITS.reshape(2, 2, -1), "float32")
    given = np.array([[1.0, 3.0], [2.0, 0.5]] if of_each == "step" else [1.0, 3.0], "float32")
    mask = np.array([[True, False], [True, True]])
    weights = ops.convert_to_tensor(given.copy())
    each = values(make(reduction="none"), labels, LOGITS.reshape(2, 2, -1)).astype("float64")
    if each.ndim > 2:
        each = each.mean(axis=-1)
    spread = given if of_each == "step" else given[:, None]
    right = np.sum(each * mask * spread) / 3
    for _ in range(3):
        outputs = ops.copy(logits)
        private_api.set_keras_mask(outputs, ops.convert_to_tensor(mask))
        assert float(values(loss, labels, outputs, sample_weight=weights)) == pytest.approx(
            right, rel=1e-5
        )
    np.testing.assert_array_equal(ops.convert_to_numpy(weights), given)


def keras_itself_has_symbols():
    try:
        ops.logsumexp(keras.KerasTensor((2, 3)), axis=-1)
    except TypeError:  # Keras 3.10
        return False
    return True


@every_loss
@pytest.mark.parametrize("weighted", [False, True])
def test_symbols_of_a_model_have_a_symbol_of_a_loss(name, weighted):
    make, labels = EVERY_LOSS[name]
    labels = np.asarray(labels)
    symbols = (
        keras.KerasTensor(labels.shape, dtype=str(labels.dtype)),
        keras.KerasTensor(LOGITS.shape),
    )
    weights = keras.KerasTensor(labels.shape[:1]) if weighted else None
    if "SoftmaxFocal" in name and not keras_itself_has_symbols():
        pytest.skip("a function of this Keras takes no symbols")
    loss = make()(*symbols, weights)
    assert (type(loss), loss.shape) == (keras.KerasTensor, ())
