"""Methods by name: what flags, training, exports and reports ask them."""

import dataclasses

import keras
import numpy as np
import pytest
from scipy.special import expit, softmax

import cb_keras
from experiments import methods
from experiments.datasets import Split
from experiments.methods import class_balanced, class_volume
from experiments.methods.method import Loss, Method, Parameter

SETTINGS = {"loss": "focal", "cb_beta": 0.9, "cb_power": 0.5, "gamma": 2.0}
COUNTS = [200, 50, 5]


def any_number(value):
    pass


def at_most_nine(value):
    if value > 9:
        raise ValueError(f"`margin` must be at most 9, got {value}.")


MARGIN = Parameter("margin", 0.5, "Margin.", at_most_nine, "margin", always_named=True)
STRETCH = Parameter("stretch", 30.0, "Stretch.", any_number, "stretch", always_named=True)
OTHER = Method(
    name="other",
    title="another one",
    losses=(Loss("hinge", "softmax", lambda settings, fused, **weights: weights, (STRETCH,)),),
    parameters=(MARGIN,),
)


@pytest.fixture
def two(monkeypatch):
    """The methods with one more."""
    monkeypatch.setitem(methods.METHODS, "other", OTHER)
    for parameter in (MARGIN, STRETCH):
        monkeypatch.setitem(methods.PARAMETERS, parameter.name, parameter)


def weights(beta, power):
    """Cui et al. 2019 equation 4 under a power, in plain numpy."""
    number = (1 - beta ** np.array(COUNTS, "float64")) / (1 - beta)
    raw = number**-power
    return len(COUNTS) * raw / raw.sum()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax", cb_keras.losses.ClassBalancedSoftmaxCrossentropy),
        ("sigmoid", cb_keras.losses.ClassBalancedSigmoidCrossentropy),
        ("focal", cb_keras.losses.ClassBalancedFocalCrossentropy),
    ],
)
def test_the_loss_is_the_one_that_the_settings_name(name, expected):
    settings = {**SETTINGS, "loss": name}
    method = methods.of(settings)
    loss = method.make_loss(settings, class_counts=COUNTS)
    assert type(loss) is expected
    assert loss.fused is False
    class_weights = keras.ops.convert_to_numpy(loss.class_weights)
    np.testing.assert_allclose(class_weights, weights(0.9, 0.5), rtol=1e-6)
    assert getattr(loss, "gamma", 2.0) == 2.0
    by_examples = method.make_loss({**settings, "cb_normalize": "examples"}, class_counts=COUNTS)
    scaled = keras.ops.convert_to_numpy(by_examples.class_weights)
    assert scaled @ COUNTS / np.sum(COUNTS) == pytest.approx(1, rel=1e-6)
    given = method.make_loss(settings, class_weights=[1.0, 2.0, 3.0], fused="auto")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(given.class_weights), [1, 2, 3])
    assert getattr(given, "gamma", 2.0) == 2.0
    assert given.fused == "auto"


@pytest.mark.parametrize(
    ("loss", "head", "expected"),
    [("softmax", "softmax", softmax), ("sigmoid", "sigmoid", expit), ("focal", "sigmoid", expit)],
)
def test_the_head_and_the_probabilities_are_those_of_the_loss(loss, head, expected):
    settings = {**SETTINGS, "loss": loss}
    method = methods.of(settings)
    assert method.head(settings) == head
    logits = np.array([[1.0, -2.0, 0.5]], "float32")
    found = keras.ops.convert_to_numpy(method.probabilities(settings, logits))
    axis = {"axis": -1} if expected is softmax else {}
    np.testing.assert_allclose(found, expected(logits, **axis), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss", "name", "label", "own"),
    [
        ("softmax", "softmax_power0.5_beta0.9", "softmax", []),
        ("sigmoid", "sigmoid_power0.5_beta0.9", "sigmoid", []),
        ("focal", "focal2_power0.5_beta0.9", "focal, gamma 2", ["gamma"]),
    ],
)
def test_runs_and_reports_name_the_loss_and_the_parameters_that_it_has(loss, name, label, own):
    settings = {**SETTINGS, "loss": loss}
    method = methods.of(settings)
    assert method.in_name(settings) == name
    assert method.label(settings) == label
    names = [parameter.name for parameter in method.parameters_of(settings)]
    assert names == ["cb_power", "cb_beta", "cb_normalize", *own]
    by_examples = {**settings, "cb_normalize": "examples"}
    assert method.in_name(by_examples) == f"{name}_normalize=examples"


def test_another_method_than_the_default_is_named(two):
    settings = {"method": "other", "loss": "hinge", "margin": 0.25, "stretch": 16.0}
    assert methods.of(settings).in_name(settings) == "other_hinge16_margin0.25"
    assert methods.of(settings).label(settings) == "other, hinge, stretch 16"


def test_a_run_that_recorded_no_method_or_parameter_has_the_default():
    assert methods.of({}).name == methods.DEFAULT == "class_balanced"
    assert class_balanced.GAMMA.value({}) == 1.0
    assert methods.of({}).in_name({"loss": "focal"}) == "focal1_power1_beta0.9999"


def test_softmax_focal_is_the_loss_with_that_gamma_and_a_softmax_head():
    settings = {**SETTINGS, "method": "softmax_focal", "loss": "softmax", "gamma": 0.5}
    method = methods.of(settings)
    loss = method.make_loss(settings, class_counts=COUNTS)
    assert type(loss) is cb_keras.losses.ClassBalancedSoftmaxFocalCrossentropy
    assert loss.gamma == 0.5
    class_weights = keras.ops.convert_to_numpy(loss.class_weights)
    np.testing.assert_allclose(class_weights, weights(0.9, 0.5), rtol=1e-6)
    assert method.head(settings) == "softmax"
    assert method.in_name(settings) == "softmax_focal_softmax0.5_power0.5_beta0.9"
    assert not list(methods.problems(settings))


def test_an_export_keeps_the_settings_of_the_method_alone():
    given = {"seed": 3, **SETTINGS, "method": "class_balanced"}
    assert methods.settings_of(given) == {"method": "class_balanced", **SETTINGS}


def test_an_unknown_method_or_loss_is_refused_naming_the_known():
    with pytest.raises(ValueError, match="--method=x is unknown; there are class_balanced"):
        methods.of({"method": "x"})
    method = methods.get("class_balanced")
    for ask in (method.head, method.in_name, method.label, method.make_loss):
        with pytest.raises(ValueError, match="accepts softmax, sigmoid, focal"):
            ask({**SETTINGS, "loss": "hinge"})
    with pytest.raises(
        ValueError, match="`head` must be one of softmax, sigmoid, cosine, got 'linear'"
    ):
        Loss("x", "linear", None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"loss": "softmax", "gamma": 1.0}, []),  # the default says nothing
        (
            {"loss": "softmax"},
            ["--gamma=2.0 has no effect on --loss=softmax; it belongs to focal and --method=soft"],
        ),
        ({"margin": 1.0}, ["--margin=1.0 has no effect on --loss=focal; it belongs to --method="]),
        (
            {"loss": "softmax", "gamma": 1.0, "stretch": 1.0},
            ["--stretch=1.0 has no effect on --loss=softmax; it belongs to --method=other"],
        ),
        (
            {"method": "other", "loss": "hinge", "gamma": 1.0, "cb_beta": 0.9999, "cb_power": 0.0},
            ["--cb_power=0.0 has no effect on --method=other with --loss=hinge; it belongs to --m"],
        ),
        (
            {"method": "other", "loss": "hinge", "gamma": 1.0, "cb_beta": 0.9999, "cb_power": 1.0}
            | {"fused_op": "on"},
            ["--fused_op=on can't be used with --method=other with --loss=hinge, a loss that"],
        ),
        ({"fused_op": "on"}, []),
        ({"method": "other", "margin": 1.0}, ["--loss=focal does not go with --method=other, whi"]),
        (
            {"method": "x"},
            ["--method=x is unknown; there are class_balanced, softmax_focal, l"],
        ),
        (
            {"method": "x", "margin": 10.0, "cb_beta": 2.0},
            ["--cb_beta: `beta` must be", "--margin: `margin` must be at most 9", "--method=x is"],
        ),
    ],
)
def test_what_is_wrong_with_the_settings_is_told_line_by_line(two, changes, expected):
    found = list(methods.problems({**SETTINGS, **changes}))
    assert len(found) == len(expected)
    assert all(line.startswith(words) for line, words in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "focal"])
def test_a_method_knows_whether_the_native_op_has_its_loss(name):
    method = methods.get("class_balanced")
    loss = method.make_loss({**SETTINGS, "loss": name}, class_counts=COUNTS)
    assert method.loss(name).fused_op == (loss._fused_form() is not None)


def test_two_methods_may_share_a_parameter_but_not_differ_in_it(monkeypatch):
    monkeypatch.setitem(methods.METHODS, "other", OTHER)
    monkeypatch.setitem(methods.METHODS, "third", dataclasses.replace(OTHER, name="third"))
    assert list(methods._parameters()) == [*methods.PARAMETERS, "margin", "stretch"]
    differing = dataclasses.replace(MARGIN, default=1.0)
    method = dataclasses.replace(OTHER, name="fourth", parameters=(differing,))
    monkeypatch.setitem(methods.METHODS, "fourth", method)
    with pytest.raises(ValueError, match="two methods have different parameters 'margin'"):
        methods._parameters()


def test_two_methods_of_one_name_are_refused(monkeypatch):
    again = dataclasses.replace(class_balanced.CLASS_BALANCED, title="again")
    monkeypatch.setattr(class_balanced, "METHODS", (class_balanced.CLASS_BALANCED, again))
    with pytest.raises(ValueError, match="two methods are called 'class_balanced'"):
        methods._methods()


@pytest.mark.parametrize(
    ("name", "own", "cls", "head"),
    [
        ("logit_adjusted", {"tau": 0.5}, "LogitAdjustedCrossentropy", "softmax"),
        ("balanced_softmax", {}, "LogitAdjustedCrossentropy", "softmax"),
        ("vs", {"vs_gamma": 0.1, "tau": 1.2}, "VectorScalingCrossentropy", "softmax"),
        ("vs_drw", {"vs_gamma": 0.1, "tau": 1.2}, "VectorScalingCrossentropy", "softmax"),
        ("ldam", {"max_margin": 0.4, "scale": 16.0}, "LDAMCrossentropy", "cosine"),
        ("ldam_drw", {"max_margin": 0.4, "scale": 16.0}, "LDAMCrossentropy", "cosine"),
        ("cb_drw", {}, "ClassBalancedSoftmaxCrossentropy", "softmax"),
    ],
)
def test_methods_of_the_logits_make_their_loss_and_their_probabilities(name, own, cls, head):
    settings = {"method": name, "loss": "softmax", "cb_power": 1.0, "cb_beta": 0.9, **own}
    method = methods.of(settings)
    loss = method.make_loss(settings, class_counts=COUNTS)
    assert type(loss) is getattr(cb_keras.losses, cls)
    attributes = {"vs_gamma": "gamma"}
    for key, value in own.items():
        assert getattr(loss, attributes.get(key, key)) == value
    deferred = name.endswith("_drw")
    expected = weights(0.9, 1.0) if deferred else np.ones(3)
    found = keras.ops.convert_to_numpy(loss.class_weights)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    again = method.make_loss(settings, class_counts=COUNTS, class_weights=[3.0, 2.0, 1.0])
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again.class_weights), [3, 2, 1])
    assert method.head(settings) == head
    logits = np.array([[0.5, -0.25, 0.125]], "float32")
    probabilities = keras.ops.convert_to_numpy(method.probabilities(settings, logits))
    scale = own.get("scale", 1.0)
    np.testing.assert_allclose(probabilities, softmax(scale * logits, axis=-1), rtol=1e-5)
    assert (method.schedule is not None) == deferred
    if deferred:
        schedule = method.schedule({**settings, "drw_start": 0.5, "train_epochs": 8}, COUNTS)
        np.testing.assert_array_equal(schedule(3), 1)
        np.testing.assert_allclose(schedule(4), expected, rtol=1e-6)


def test_the_power_of_a_ramp_goes_from_its_start_to_cb_power():
    own = {"method": "power_ramp", "loss": "sigmoid", "ramp_start": -0.5, "train_epochs": 5}
    settings = {**SETTINGS, **own}
    method = methods.of(settings)
    assert method.in_name(settings) == "power_ramp_sigmoid_power0.5_beta0.9_start-0.5"
    schedule = method.schedule(settings, COUNTS)
    for epoch, power in enumerate((-0.5, -0.25, 0.0, 0.25, 0.5)):
        np.testing.assert_allclose(schedule(epoch), weights(0.9, power), rtol=1e-5)
    loss = method.make_loss(settings, class_counts=COUNTS)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(loss.class_weights), weights(0.9, 0.5), rtol=1e-5
    )
    step = method.schedule({**settings, "ramp_shape": "step"}, COUNTS)
    np.testing.assert_allclose(step(1), weights(0.9, -0.5), rtol=1e-5)
    assert method.in_name({**settings, "ramp_shape": "step"}).endswith("start-0.5_ramp=step")


def test_difficulty_begins_with_the_class_balanced_weights_and_says_its_parameters():
    own = {"method": "difficulty", "difficulty_power": 2.0, "difficulty_momentum": 0.5}
    settings = {**SETTINGS, **own}
    method = methods.of(settings)
    name = "difficulty_focal2_power0.5_beta0.9_difficulty2_momentum0.5"
    assert method.in_name(settings) == name
    loss = method.make_loss(settings, class_counts=COUNTS)
    callback = method.callback(settings, COUNTS)
    for found in (keras.ops.convert_to_numpy(loss.class_weights), callback.schedule(0)):
        np.testing.assert_allclose(found, weights(0.9, 0.5), rtol=1e-6)
    assert (callback.power, callback.momentum) == (2.0, 0.5)
    by_examples = method.callback({**settings, "cb_normalize": "examples"}, COUNTS)
    by_examples.restore({"errors": [0.0, 0.5, 1.0], "epochs": [1.0, 1.0, 1.0]})
    found = by_examples.schedule(1)
    raw = weights(0.9, 0.5) * np.array([0.1, 0.6, 1.1]) ** 2
    np.testing.assert_allclose(found, raw * np.sum(COUNTS) / (raw @ COUNTS), rtol=1e-5)


def test_class_volume_weighs_by_the_volumes_of_the_images_in_small(real_digits):
    images = Split(*real_digits).take(np.r_[0:300])
    counts = np.bincount(images.labels)
    settings = {"method": "class_volume", "loss": "focal", "cb_power": 0.5, "gamma": 2.0}
    settings["volume_quantile"] = 0.25
    method = methods.of(settings)
    assert method.in_name(settings) == "class_volume_focal2_power0.5_quantile0.25"
    found = method.weigh(settings, images, counts)
    pixels = images.images.astype("float64")  # 8 by 8 already
    volumes = np.array(found["class_volumes"])
    np.testing.assert_array_equal(
        volumes, cb_keras.class_volumes(pixels, images.labels, 10, quantile=0.25)
    )
    raw = (volumes * (1 - (1 - 1 / volumes) ** counts)) ** -0.5
    np.testing.assert_allclose(found["class_weights"], 10 * raw / raw.sum(), rtol=1e-6)
    loss = method.make_loss(settings, class_weights=found["class_weights"], class_counts=counts)
    assert loss.gamma == 2.0
    class_weights = keras.ops.convert_to_numpy(loss.class_weights)
    np.testing.assert_allclose(class_weights, found["class_weights"], rtol=1e-7)
    with pytest.raises(ValueError, match="weights of class_volume are those of the images"):
        method.make_loss(settings, class_counts=counts)


@pytest.mark.parametrize("shape", [(3, 32, 32, 3), (3, 28, 20, 1), (2, 5, 9, 1)])
def test_pictures_in_small_are_means_of_fields_however_few_are_read_at_once(shape, monkeypatch):
    monkeypatch.setattr(class_volume, "_MOST_BYTES", 8 * np.prod(shape[1:]))  # one
    images = np.random.default_rng(0).integers(256, size=shape, dtype="uint8")
    found = class_volume.small_pixels(images)
    rows, columns = (min(8, side) for side in shape[1:3])
    assert found.shape == (shape[0], rows, columns, shape[3])
    for i in range(rows):
        for j in range(columns):
            top, left = (shape[1] * i // rows, shape[2] * j // columns)
            bottom, right = (shape[1] * (i + 1) // rows, shape[2] * (j + 1) // columns)
            field = images[:, top:bottom, left:right].mean((1, 2))
            np.testing.assert_allclose(found[:, i, j], field, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("volume_quantile", 1.0, r"`volume_quantile` must be in \(0, 1\)"),
        ("difficulty_power", float("nan"), "`power` must be finite"),
        ("difficulty_momentum", 1.0, r"`momentum` must be in \[0, 1\)"),
        ("ramp_start", float("inf"), "`power` must be finite"),
        ("ramp_shape", "sine", '`ramp_shape` must be "linear" or "cosine" or "step"'),
        ("cb_normalize", "mean", '`normalize` must be "classes" or "examples"'),
        ("tau", -1, "`tau` must be a finite number >= 0"),
        ("vs_gamma", -1, "`gamma` must be a finite number >= 0"),
        ("max_margin", 0, "`max_margin` must be a finite number > 0"),
        ("scale", float("inf"), "`scale` must be a finite number > 0"),
        ("drw_start", 1.5, r"`drw_start` must be in \[0, 1\]"),
    ],
)
def test_parameters_of_the_logits_have_their_ranges(name, value, words):
    with pytest.raises(ValueError, match=words):
        methods.PARAMETERS[name].check(value)
    methods.PARAMETERS[name].check(methods.PARAMETERS[name].default)
