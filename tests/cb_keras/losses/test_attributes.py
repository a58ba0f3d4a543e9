"""What can be set on a loss after it was made acts; what would not act can't be set."""

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import losses
from tests.cb_keras.cases import CLASSES, COUNTS, IDS, LOGITS, OF_COUNTS, WEIGHTS

FIXED = {
    losses.ClassBalancedSoftmaxCrossentropy: ("label_smoothing",),
    losses.ClassBalancedFocalCrossentropy: ("gamma",),
    losses.ClassBalancedSoftmaxFocalCrossentropy: ("gamma",),
    losses.LDAMCrossentropy: ("max_margin", "scale"),
    losses.LogitAdjustedCrossentropy: ("tau", "label_smoothing"),
    losses.VectorScalingCrossentropy: ("gamma", "tau", "label_smoothing"),
    losses.LabelAwareSmoothingCrossentropy: ("head", "tail"),
}
every_loss = pytest.mark.parametrize("loss_class", OF_COUNTS, ids=lambda c: c.__name__)


def value(loss):
    return float(loss(ops.convert_to_tensor(IDS), ops.convert_to_tensor(LOGITS, "float32")))


@every_loss
def test_what_a_loss_computes_with_once_can_not_be_set_again(loss_class):
    loss = loss_class(COUNTS)
    shared = ("class_counts", "beta", "power", "normalize", "empty", "from_logits", "ignore_class")
    config = loss.get_config()
    for name in (*shared, *FIXED.get(loss_class, ())):
        with pytest.raises(AttributeError, match=f"`{name}` is fixed when a loss is made"):
            setattr(loss, name, 0.5)
    assert loss.get_config() == config


@pytest.mark.parametrize(
    ("loss", "names"),
    [
        (losses.ClassBalancedBinaryCrossentropy([9, 1]), ("gamma", "label_smoothing")),
        (losses.AsymmetricCrossentropy(), ("gamma_negative", "gamma_positive", "margin")),
    ],
)
def test_so_with_the_losses_of_a_yes_or_no(loss, names):
    config = loss.get_config()
    for name in (*names, "from_logits", "ignore_class"):
        with pytest.raises(AttributeError, match=f"`{name}` is fixed when a loss is made"):
            setattr(loss, name, 0.5)
    assert loss.get_config() == config


@every_loss
@pytest.mark.parametrize("form", [list, np.array, ops.convert_to_tensor, keras.Variable])
def test_class_weights_can_be_set_in_any_form(loss_class, form):
    either = loss_class in CLASSES.values()  # the others need the counts as well
    loss = loss_class(COUNTS)
    once = loss_class(None if either else COUNTS, class_weights=WEIGHTS)
    assert value(loss) != value(once)
    variable = loss.class_weights
    value(loss)
    loss.class_weights = form(WEIGHTS.astype("float32"))
    assert loss.class_weights is variable
    np.testing.assert_allclose(value(loss), value(once), rtol=1e-6)


@every_loss
def test_class_weights_that_do_not_fit_are_refused(loss_class):
    loss = loss_class(COUNTS)
    before = value(loss)
    for wrong in ([1.0, 2.0], np.ones(4, "float32"), keras.Variable(np.ones(4, "float32"))):
        with pytest.raises(ValueError, match=r"`class_weights` has \d classes, the loss 3"):
            loss.class_weights = wrong
    with pytest.raises(ValueError, match="class_weights"):
        loss.class_weights = [1.0, -1.0, 1.0]
    assert value(loss) == before


@pytest.mark.parametrize("power", [1.0, 0.5])
def test_weights_of_no_and_yes_can_be_set_as_well(power):
    loss = losses.ClassBalancedBinaryCrossentropy([90, 10], power=power)
    labels, logits = ops.ones((4, 1)), ops.zeros((4, 1))
    before = float(loss(labels, logits))
    no, yes = ops.convert_to_numpy(loss.class_weights.value).ravel()
    loss.class_weights = [no, 2 * yes]
    np.testing.assert_allclose(float(loss(labels, logits)), 2 * before, rtol=1e-6)
    with pytest.raises(ValueError, match="class_weights"):
        loss.class_weights = [[1.0, 2.0], [1.0, 2.0]]
    with pytest.raises(AttributeError, match="`power` is fixed"):
        loss.power = 0.25


@pytest.mark.parametrize("times", [1, 2])
def test_a_formula_of_a_subclass_counts_where_the_op_could_be_used(times, fused_op):
    class Tripled(losses.ClassBalancedSoftmaxCrossentropy):
        def _formula(self, prepared):
            return 3 * super()._formula(prepared)

    ours, plain = Tripled(COUNTS), losses.ClassBalancedSoftmaxCrossentropy(COUNTS)
    for _ in range(times):  # a first call looks at its values
        np.testing.assert_allclose(value(ours), 3 * value(plain), rtol=1e-6)
