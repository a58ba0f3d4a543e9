"""The losses that change the logits: values and slopes from the papers' formulas, and the class."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import log_softmax, softmax

import cb_keras
from cb_keras import functional, losses
from tests.cb_keras import reference
from tests.cb_keras.cases import BALANCED, COUNTS, IDS, LOGITS, TARGETS, WEIGHTS, number
from tests.cb_keras.gradients import compiled, value_and_gradient

N, PI = np.array(COUNTS, "float64"), np.array(COUNTS) / np.sum(COUNTS)
FUNCTIONS = {
    "logit_adjusted": functional.logit_adjusted_crossentropy,
    "ldam": functional.ldam_crossentropy,
    "vs": functional.vector_scaling_crossentropy,
}
CLASSES = {
    "logit_adjusted": losses.LogitAdjustedCrossentropy,
    "ldam": losses.LDAMCrossentropy,
    "vs": losses.VectorScalingCrossentropy,
}
SETTINGS = {
    "logit_adjusted": {"tau": 1.3},
    "ldam": {"max_margin": 0.4, "scale": 7.0},
    "vs": {"gamma": 0.15, "tau": 1.1},
}
kinds = pytest.mark.parametrize("kind", FUNCTIONS)


def logits_of_each_class(kind):
    """Float64 `[C]` functions of the class: logits `[N, C]` of its own cross-entropy, `dz'/dz`."""
    if kind == "logit_adjusted":
        return lambda z, _: z + 1.3 * np.log(PI), 1.0
    if kind == "vs":
        factor = (N / N.max()) ** 0.15
        return lambda z, _: factor * z + 1.1 * np.log(PI), factor
    margins = 0.4 * (N.min() / N) ** 0.25
    return lambda z, c: 7.0 * (z - margins[c] * np.eye(3)[c]), 7.0


def expected(kind, z, targets):
    """Loss `[N]` and gradient of its sum: `sum_c t_c CE_c`, in float64."""
    of_class, slope = logits_of_each_class(kind)
    loss, gradient = np.zeros(len(z)), np.zeros_like(z)
    for c in range(3):
        mine = of_class(z, c)
        loss -= targets[:, c] * log_softmax(mine, axis=-1)[:, c]
        gradient += targets[:, [c]] * (softmax(mine, axis=-1) - np.eye(3)[c]) * slope
    return loss, gradient


@kinds
@pytest.mark.parametrize("form", ["ids", "one-hot", "soft"])
def test_value_and_slope_are_those_of_the_paper(kind, form):
    soft = np.array([[0.7, 0.3, 0], [0, 0.5, 0.5], [0.2, 0.2, 0.6], [0, 0, 0]])
    targets = soft if form == "soft" else TARGETS
    labels = IDS if form == "ids" else targets

    def loss(z):
        return FUNCTIONS[kind](labels, z, COUNTS, class_weights=WEIGHTS, **SETTINGS[kind])

    value, gradient = value_and_gradient(compiled(loss) if form == "ids" else loss, LOGITS)
    right, slope = expected(kind, LOGITS, targets * WEIGHTS)
    np.testing.assert_allclose(value, right, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6)


@kinds
@pytest.mark.usefixtures("both_ways")
def test_the_class_is_the_mean_of_the_function_with_weights_on_top(kind):
    loss = CLASSES[kind](COUNTS, power=1.0, **SETTINGS[kind])
    value, gradient = value_and_gradient(lambda z: loss(IDS, z), LOGITS)
    right, slope = expected(kind, LOGITS, TARGETS * BALANCED)
    np.testing.assert_allclose(value, right.mean(), rtol=1e-5)
    np.testing.assert_allclose(gradient, slope / 4, rtol=1e-4, atol=1e-6)
    plain = CLASSES[kind](COUNTS, **SETTINGS[kind])
    right, _ = expected(kind, LOGITS, TARGETS)
    np.testing.assert_allclose(number(plain(IDS, LOGITS)), right.mean(), rtol=1e-5)


def test_tau_one_is_balanced_softmax_and_its_limits_are_known_losses():
    balanced = -np.log((N * np.exp(LOGITS))[np.arange(4), IDS] / (N * np.exp(LOGITS)).sum(1))
    found = number(functional.logit_adjusted_crossentropy(IDS, LOGITS, COUNTS))
    np.testing.assert_allclose(found, balanced, rtol=1e-5)
    plain = reference.softmax_loss(LOGITS, TARGETS)
    for kind, settings in {"logit_adjusted": {"tau": 0}, "vs": {"gamma": 0, "tau": 0}}.items():
        np.testing.assert_allclose(
            number(FUNCTIONS[kind](IDS, LOGITS, COUNTS, **settings)), plain, rtol=1e-5
        )
    # Rare classes' logits are shrunk, not stretched: CDT's factor of the largest class is 1.
    alone = functional.vector_scaling_crossentropy([0], [[2.0, 0, 0]], COUNTS, 1.0, 0.0)
    np.testing.assert_allclose(number(alone), [np.log(1 + 2 * np.exp(-2))], rtol=1e-5)


@kinds
@pytest.mark.usefixtures("both_ways")
def test_void_pixels_weightless_classes_and_masked_logits_do_no_harm(kind):
    loss = CLASSES[kind](COUNTS, class_weights=[0.2, 0.0, 2.1], ignore_class=255)
    ids = np.array([0, 1, 2, 255])
    logits = np.where(np.isin(np.arange(4), [1, 3])[:, None], [np.inf, -np.inf, np.nan], LOGITS)
    value, gradient = value_and_gradient(lambda z: loss(ids, z), logits)
    again = CLASSES[kind](COUNTS, class_weights=[0.2, 0.0, 2.1])
    right, slope = value_and_gradient(lambda z: again(IDS[[0, 2]], z), LOGITS[[0, 2]])
    np.testing.assert_allclose(value, right * 2 / 3, rtol=1e-5)
    np.testing.assert_allclose(gradient[[0, 2]], slope * 2 / 3, rtol=1e-5, atol=1e-7)
    assert (gradient[[1, 3]] == 0).all()


@kinds
def test_a_round_trip_keeps_counts_settings_and_weights_that_were_assigned(kind):
    loss = CLASSES[kind](COUNTS, power=0.5, beta=0.99, ignore_class=-1, **SETTINGS[kind])
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    assert copy.get_config() == loss.get_config()
    assert copy.class_counts == COUNTS
    loss.class_weights.assign([3.0, 2.0, 1.0])
    copy = keras.losses.deserialize(keras.losses.serialize(loss))
    np.testing.assert_array_equal(number(copy.class_weights), [3, 2, 1])
    np.testing.assert_array_equal(number(copy(IDS, LOGITS)), number(loss(IDS, LOGITS)))
    given = CLASSES[kind](COUNTS, class_weights=WEIGHTS)
    copy = keras.losses.deserialize(keras.losses.serialize(given))
    assert copy.get_config() == given.get_config()
    np.testing.assert_allclose(number(copy.class_weights), WEIGHTS, rtol=1e-6)


@kinds
def test_an_empty_class_is_refused_by_name_and_so_are_numbers_out_of_range(kind):
    make = CLASSES[kind]
    with pytest.raises(ValueError, match=r"no examples of class 1, 2: the logarithm"):
        make([5, 0, 0])
    with pytest.raises(ValueError, match="`class_weights` has 2 classes, `class_counts` has 3"):
        make(COUNTS, class_weights=[1, 2])
    with pytest.raises(ValueError, match=r"`power`=1\.0 .* no effect on `class_weights`"):
        make(COUNTS, class_weights=WEIGHTS, power=1.0)
    for name in SETTINGS[kind]:
        with pytest.raises(ValueError, match=f"`{name}` must be a finite number"):
            make(COUNTS, **{name: -1.0})
        with pytest.raises(ValueError, match=f"`{name}` must be a"):
            make(COUNTS, **{name: "1"})


def test_low_precision_logits_are_adjusted_in_float32():
    logits = ops.cast(LOGITS, "bfloat16")
    for kind in FUNCTIONS:
        found = number(FUNCTIONS[kind](IDS, logits, COUNTS, **SETTINGS[kind]))
        right, _ = expected(kind, LOGITS, TARGETS)
        np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-6)


def test_deferred_weights_of_a_schedule_reach_the_loss_in_fit():
    weights = cb_keras.class_balanced_weights(COUNTS)
    loss = losses.LDAMCrossentropy(COUNTS)
    model = keras.Sequential([keras.Input((3,)), cb_keras.layers.NormalizedDense(3)])
    model.compile(keras.optimizers.SGD(0.0), loss)
    schedule = cb_keras.weight_schedules.deferred(weights, 1)
    callback = cb_keras.callbacks.ClassWeightScheduler(None, schedule)
    history = model.fit(
        LOGITS.astype("float32"), IDS, epochs=2, callbacks=[callback], verbose=0
    ).history["loss"]
    cosines = model.predict(LOGITS, verbose=0)
    margins = 0.5 * (N.min() / N) ** 0.25
    z = 30 * (cosines - margins * TARGETS)
    each = -log_softmax(z.astype("float64"), axis=-1)[np.arange(4), IDS]
    np.testing.assert_allclose(history, [each.mean(), (weights[IDS] * each).mean()], rtol=1e-4)
