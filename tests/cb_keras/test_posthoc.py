"""What is done to the logits or the head of a trained model, on real data where there is some."""

import keras
import numpy as np
import pytest
import scipy.optimize
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

import cb_keras
from cb_keras import posthoc
from tests.cb_keras.cases import COUNTS, LOGITS, number


@pytest.fixture(scope="module")
def digits():
    """Logits of a linear model of a long tail, for held-out images of the tail and for the rest."""
    images, labels = load_digits(return_X_y=True)
    counts = cb_keras.long_tailed_counts(10, 120, 0.05)
    chosen = cb_keras.choose_long_tail(labels, counts)
    train, held_out = chosen[::2], chosen[1::2]
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    model = LogisticRegression(max_iter=2000).fit(images[train] / 16, labels[train])
    of = {
        name: model.decision_function(images[i] / 16) for name, i in (("a", held_out), ("b", rest))
    }
    return np.bincount(labels[train]), of["a"], labels[held_out], of["b"], labels[rest]


def test_adjusted_logits_have_the_probabilities_of_balanced_classes():
    pi = np.array(COUNTS) / np.sum(COUNTS)
    joint = np.exp(LOGITS) / pi**0.7
    found = np.exp(log_softmax(number(posthoc.adjust_logits(LOGITS, COUNTS, 0.7)), axis=-1))
    np.testing.assert_allclose(found, joint / joint.sum(1, keepdims=True), rtol=1e-5)
    layer = cb_keras.layers.LogitAdjustment(COUNTS, 0.7, temperature=2.0)
    by_layer = number(layer(LOGITS.astype("float32")))
    np.testing.assert_allclose(
        2 * by_layer, number(posthoc.adjust_logits(LOGITS, COUNTS, 0.7)), rtol=1e-5
    )


def test_a_shift_of_the_prior_is_bayes_rule():
    before, after = np.array([0.5, 0.3, 0.2]), np.array([1, 1, 2])
    p = np.exp(log_softmax(LOGITS, axis=-1))
    right = p / before * after
    found = np.exp(log_softmax(number(posthoc.shift_prior(LOGITS, before, after)), axis=-1))
    np.testing.assert_allclose(found, right / right.sum(1, keepdims=True), rtol=1e-5)
    balanced = number(posthoc.shift_prior(LOGITS, COUNTS, [1, 1, 1]))
    ours = number(posthoc.adjust_logits(LOGITS, COUNTS))
    np.testing.assert_allclose(balanced - balanced[:, :1], ours - ours[:, :1], rtol=1e-4, atol=1e-5)


def test_the_chosen_tau_helps_the_balanced_accuracy_of_images_it_has_not_seen(digits):
    counts, held_out, labels, rest, rest_labels = digits
    tau = posthoc.fit_tau(held_out, labels.astype("uint64"), counts)
    assert 0 < tau <= 3

    def score(logits, y, tau):
        return balanced_accuracy_score(
            y, number(posthoc.adjust_logits(logits, counts, tau)).argmax(1)
        )

    assert score(rest, rest_labels, tau) > score(rest, rest_labels, 0) + 0.02
    best = score(held_out, labels, tau)
    assert all(score(held_out, labels, t) <= best + 1e-9 for t in np.arange(0, 3, 0.05))


def test_the_temperature_has_the_best_class_balanced_likelihood(digits):
    _, held_out, labels, *_ = digits
    temperature = posthoc.fit_temperature(5.0 * held_out, labels)

    def nll(t):
        log_p = log_softmax(5.0 * held_out / t, axis=-1)[np.arange(len(labels)), labels]
        return -np.mean([log_p[labels == c].mean() for c in np.unique(labels)])

    best = nll(temperature)
    assert all(best <= nll(t) + 1e-6 for t in np.exp(np.linspace(np.log(0.06), np.log(19), 500)))
    # Logits that are 5 times as large want 5 times the temperature.
    once = posthoc.fit_temperature(held_out, labels)
    np.testing.assert_allclose(temperature, 5 * once, rtol=0.02)


def scaled_cosines(scale, number=400):
    """Logits as of a loss of cosines, of which one in eight is of another class than its label."""
    random = np.random.default_rng(1)
    labels = np.arange(number) % 5
    shown = np.where(np.arange(number) % 8 == 0, random.integers(0, 5, number), labels)
    cosines = 0.4 * np.eye(5)[shown] + random.normal(0, 0.1, (number, 5))
    return scale * cosines, labels


def best_by_scipy(logits, labels):
    """The temperature of the best class-balanced likelihood, by SciPy's minimiser."""
    weight = 1 / np.bincount(labels)[labels]

    def nll(log_t):
        own = log_softmax(logits / np.exp(log_t), axis=1)[np.arange(len(labels)), labels]
        return -np.sum(weight * own)

    return np.exp(scipy.optimize.minimize_scalar(nll, bracket=(-5, 5), tol=1e-10).x)


@pytest.mark.parametrize("scale", [0.2, 1, 30, 300, 3000])
def test_the_temperature_of_logits_of_any_sensible_size_is_found_and_nothing_is_said(
    scale, recwarn
):
    logits, labels = scaled_cosines(scale)
    expected = best_by_scipy(logits, labels)
    np.testing.assert_allclose(posthoc.fit_temperature(logits, labels), expected, rtol=0.005)
    assert posthoc.EndOfRangeWarning not in {warning.category for warning in recwarn.list}


@pytest.mark.parametrize(
    ("logits", "end", "words"),
    [
        (5 * np.eye(3), 0.01, "0.01, the end of the range that is searched, 0.01 to 1000: a smal"),
        (-5 * np.eye(3), 1000, "1000, the end of the range that is searched, 0.01 to 1000: a larg"),
    ],
    ids=["all right", "all wrong"],
)
def test_a_temperature_at_the_end_of_its_range_is_told(logits, end, words):
    with pytest.warns(posthoc.EndOfRangeWarning, match=f"the best temperature is {words}") as told:
        found = posthoc.fit_temperature(logits, [0, 1, 2])
    np.testing.assert_allclose(found, end)
    assert [warning.filename for warning in told] == [__file__]


def test_a_tau_whose_best_reach_the_end_of_its_range_is_told_and_0_is_not(recwarn):
    counts, labels = [90, 10], np.array([0, 0, 1, 1])
    log_odds = np.log(9)

    def logits(*margins):
        """Those with which class 1 is chosen from a tau of `margins / log 9` on."""
        return np.stack([np.array(margins) * log_odds, np.zeros(4)], axis=1)

    assert 1 < posthoc.fit_tau(logits(9, 9, 0.5, 1), labels, counts) < 9
    reached = recwarn.pop(posthoc.EndOfRangeWarning)
    assert "of those from 1.01 to 3, which are equally good, 2.01 is taken" in str(reached.message)
    assert reached.filename == __file__
    assert posthoc.fit_tau(logits(9, 9, 2.995, 5), labels, counts) == 3.0
    assert "`tau` is up to 3, the end" in str(recwarn.pop(posthoc.EndOfRangeWarning).message)
    assert 1 < posthoc.fit_tau(logits(2, 9, 0.5, 1), labels, counts) < 2
    assert posthoc.fit_tau(logits(0.005, 0.005, 9, -9), labels, counts) == 0.0
    assert posthoc.EndOfRangeWarning not in {warning.category for warning in recwarn.list}


def test_a_tau_of_the_head_that_reaches_the_end_of_its_range_is_told():
    head = keras.layers.Dense(2, use_bias=False)
    head.build((None, 2))
    head.set_weights([np.array([[4.0, 0.0], [0.0, 1.0]])])
    logits = np.array([[900.0, 1.0], [8.0, 1.0]])  # of norms 4 and 1: class 1 from tau 1.5 on
    with pytest.warns(posthoc.EndOfRangeWarning, match=r"from 1\.51 to 3, which are equal") as told:
        tau = posthoc.fit_classifier_tau(head, logits, [0, 1])
    assert 1.5 < tau < 3
    ours = [w.filename for w in told if w.category is posthoc.EndOfRangeWarning]
    assert ours == [__file__]


def test_normalized_weights_have_the_norms_of_their_power_and_the_bias_stays():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Softmax()])
    kernel = np.random.default_rng(0).normal(size=(3, 4)) * [1, 2, 3, 4]
    bias = np.arange(4.0)
    model.layers[0].set_weights([kernel, bias])
    posthoc.normalize_classifier(model, 0.5)
    found, found_bias = model.layers[0].get_weights()
    norms = np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), norms**0.5, rtol=1e-5)
    np.testing.assert_allclose(found / np.linalg.norm(found, axis=0), kernel / norms, rtol=1e-5)
    np.testing.assert_array_equal(found_bias, bias)


def test_the_chosen_power_of_the_norms_is_the_best_on_the_images_it_was_chosen_by(digits):
    """A head whose rare classes have short weights, as in a long tail; the power undoes it."""
    images, labels = load_digits(return_X_y=True)
    counts, *_ = digits
    means = np.array([images[:400][labels[:400] == c].mean(axis=0) for c in range(10)])
    kernel = ((means - means.mean(axis=0)) * (counts[:, None] / counts.max()) ** 0.5).T
    bias = np.linspace(-1, 1, 10)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    model.set_weights([kernel, bias])
    x, y = images[400:800], labels[400:800]

    def logits(tau):
        return x @ (kernel / np.linalg.norm(kernel, axis=0) ** tau) + bias

    def score(tau):
        return balanced_accuracy_score(y, logits(tau).argmax(1))

    tau = posthoc.fit_classifier_tau(model, logits(0), y)
    assert 0.5 < tau <= 3
    assert score(tau) > score(0) + 0.02
    assert all(score(t) <= score(tau) + 4e-3 for t in np.arange(0, 3, 0.3))
    np.testing.assert_allclose(model.get_weights()[0], kernel, rtol=1e-6)  # as it was


def two_heads():
    inputs = keras.Input((3,))
    trunk = keras.layers.Dense(6, "relu")(inputs)
    heads = [keras.layers.Dense(n, name=name)(trunk) for n, name in ((4, "genus"), (4, "species"))]
    return inputs, heads


class TwoHeads(keras.Model):
    def __init__(self):
        super().__init__()
        self.genus, self.species = keras.layers.Dense(4), keras.layers.Dense(4)

    def call(self, x):
        return self.genus(x), self.species(x)


def test_the_head_of_several_is_not_guessed_but_given():
    inputs, (genus, species) = two_heads()
    subclass = TwoHeads()
    subclass(np.zeros((2, 3), "float32"))
    of_two = (
        r"`model` has 2 outputs.* give the keras.layers.Dense of one of them, such as model\.get_"
    )
    added = r"output does not come from its last keras.layers.Dense, '\w+', alone: give the layer"
    for model, message in (
        (keras.Model(inputs, [genus, species]), of_two),
        (keras.Model(inputs, {"b": genus, "a": species}), of_two),
        (subclass, of_two),
        (keras.Model(inputs, keras.layers.Average()([genus, species])), added),
    ):
        before = [number(w) for w in model.weights]
        with pytest.raises(ValueError, match=message):
            posthoc.normalize_classifier(model, 1.0)
        with pytest.raises(ValueError, match=message):
            posthoc.fit_classifier_tau(model, np.zeros((2, 4)), [0, 1])
        for ours, was in zip(model.weights, before, strict=True):
            np.testing.assert_array_equal(number(ours), was)
    head = model.get_layer("species")
    kernel, other = number(head.kernel), number(model.get_layer("genus").kernel)
    posthoc.normalize_classifier(head, 1.0)
    right = kernel / np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(number(head.kernel), right, rtol=1e-5)
    np.testing.assert_array_equal(number(model.get_layer("genus").kernel), other)
    logits = np.random.default_rng(0).normal(size=(40, 4))
    assert 0 <= posthoc.fit_classifier_tau(head, logits, np.arange(40) % 4) <= 3
    with pytest.raises(ValueError, match="has no weights yet: build the model first"):
        posthoc.normalize_classifier(keras.layers.Dense(4), 1.0)


def test_a_model_of_one_output_still_says_which_its_head_is():
    inputs, (genus, _) = two_heads()
    deferred = keras.Sequential([keras.layers.Dense(4), keras.layers.Softmax()])
    deferred(np.zeros((2, 3), "float32"))
    for model in (
        keras.Model(inputs, genus),
        keras.Model(inputs, keras.layers.Softmax()(genus)),
        deferred,
    ):
        posthoc.normalize_classifier(model, 1.0)
        head = next(x for x in model.layers[::-1] if isinstance(x, keras.layers.Dense))
        np.testing.assert_allclose(np.linalg.norm(number(head.kernel), axis=0), 1, rtol=1e-5)


def test_what_does_not_fit_is_refused_in_words():
    model = keras.Sequential([keras.Input((3,)), cb_keras.layers.NormalizedDense(4)])
    with pytest.raises(ValueError, match="its last layer with weights is NormalizedDense"):
        posthoc.normalize_classifier(model, 1.0)
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match="`model` has 4 classes, `logits` has 3"):
        posthoc.fit_classifier_tau(dense, LOGITS[:2], [0, 1])
    with pytest.raises(ValueError, match=r"no examples of class 1"):
        posthoc.adjust_logits(LOGITS, [3, 0, 2])
    with pytest.raises(ValueError, match=r"`class_counts` has 2 classes, `logits` has 3"):
        posthoc.adjust_logits(LOGITS, [3, 2])
    with pytest.raises(ValueError, match=r"`to_prior` must be finite numbers > 0"):
        posthoc.shift_prior(LOGITS, [1, 1, 1], [1, 0, 1])
    with pytest.raises(ValueError, match=r"`tau` must be a finite number >= 0"):
        posthoc.adjust_logits(LOGITS, COUNTS, -1)
    with pytest.raises(ValueError, match=r"`labels` must be in \[0, 3\), found 0 to 3"):
        posthoc.fit_tau(LOGITS, [0, 1, 2, 3], COUNTS)
    with pytest.raises(ValueError, match=r"`logits` must be \[N, C\]"):
        posthoc.fit_temperature(LOGITS[0], [0])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_named(wrong):
    logits, labels = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 3
    logits[7, 1] = wrong  # of its own label
    words = rf"holds 1 that are not finite, the first at position \[7, 1\], {wrong}"
    for fit in (
        lambda: posthoc.fit_temperature(logits, labels),
        lambda: posthoc.fit_tau(logits, labels, [9, 5, 2]),
    ):
        with pytest.raises(ValueError, match=words):
            fit()


@pytest.mark.parametrize(
    "function",
    [
        lambda p: posthoc.adjust_logits(p, [90, 9, 1]),
        lambda p: posthoc.shift_prior(p, [90, 9, 1], [1, 1, 1]),
        lambda p: posthoc.fit_tau(p, [0, 1, 2], [90, 9, 1]),
        lambda p: posthoc.fit_temperature(p, [0, 1, 2]),
    ],
)
def test_probabilities_in_place_of_logits_are_told(function, recwarn):
    logits = np.log([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.4, 0.5, 0.1]])
    function(logits)
    assert not [w for w in recwarn if "taken for logits" in str(w.message)]
    with pytest.warns(UserWarning, match="`logits` is taken for logits, but it is rows") as told:
        function(np.exp(logits))
    told = [w for w in told if "taken for logits" in str(w.message)]
    assert told[0].filename == __file__
    assert "take the logarithms of the probabilities" in str(told[0].message)


def test_a_class_that_is_left_out_has_no_part_in_the_temperature():
    logits, labels = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    logits[np.arange(20), labels] += 1
    without = posthoc.fit_temperature(logits[:, :2], labels)
    logits[:, 2] = -np.inf
    assert posthoc.fit_temperature(logits, labels) == without


@pytest.mark.parametrize("what", ["int8", "lora"])
def test_a_head_whose_weights_are_not_those_of_a_dense_is_refused(what):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.layers[-1].enable_lora(2) if what == "lora" else model.quantize(what)
    before = model.get_weights()
    with pytest.raises(ValueError, match="LoRA weights" if what == "lora" else "int8-quantized"):
        posthoc.normalize_classifier(model, 0.5)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
