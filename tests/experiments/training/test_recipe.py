"""The strong recipe: each part against its formula in float64, and runs that are continued."""

import keras
import numpy as np
import pytest

from experiments import methods
from experiments.cli import UserError
from experiments.training import protocol, recipe_flags, steps
from tests.experiments.cases import assert_same
from tests.experiments.training.cases import stopped_after, tiny_network

OFF = {
    **{"lr_schedule": "steps", "cutout": 0, "randaugment": 0.0, "mixup_alpha": 0.0},
    **{"cutmix_alpha": 0.0, "ema": 0.0, "sam_rho": 0.0, "strategy": "none", "loss": "softmax"},
}
FOUR = ("--train_epochs=4", "--eval_epochs=2", "--loss=softmax")
DATA = ("--cutout=3", "--randaugment=0.5", "--mixup_alpha=1", "--cutmix_alpha=1")
COSINE = ("--lr_schedule=cosine", "--lr_boundaries=0.8,0.9", "--lr_decay=0.01")


def compiled(settings, momentum=0.9):
    """A tiny network whose training has these settings."""
    keras.utils.set_random_seed(0)
    model = tiny_network(8, (8, 8, 1), 10, "softmax", 0.01, "float32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=momentum), loss)
    model.optimizer.build(model.trainable_variables)
    return model, steps.install(model, {**OFF, **settings})


def values(model):
    return [v.numpy() for v in model.variables]


def fit(model, images, labels, *callbacks, epochs=1):
    model.fit(images, labels, 32, epochs, 0, callbacks, shuffle=False)


@pytest.mark.parametrize("warmup_epochs", [0, 2.5])
def test_the_cosine_is_that_of_its_formula_after_the_warm_up(warmup_epochs):
    settings = {"lr_schedule": "cosine", "learning_rate": 0.2, "train_epochs": 10}
    settings["warmup_epochs"] = warmup_epochs
    schedule = protocol.make_schedule(settings, {"steps_per_epoch": 7})
    step, warm = np.arange(70, dtype="float64"), warmup_epochs * 7
    expected = 0.1 * (1 + np.cos(np.pi * (step - warm) / (70 - warm)))
    expected[step < warm] = 0.2 * step[step < warm] / max(warm, 1)
    np.testing.assert_allclose([float(schedule(s)) for s in range(70)], expected, atol=1e-7)


def test_a_sharpness_aware_step_on_a_quadratic_is_that_of_its_formula():
    # L(w) = sum_i a_i w_i^2 / 2: g(w) = a w, and the gradient at w + e is a (w + e).
    a, w, rate, rho = np.array([1.0, 4.0, 9.0]), np.array([0.5, -1.0, 2.0]), 0.01, 0.3
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, use_bias=False)])
    model.compile(keras.optimizers.SGD(rate), "mse")
    model.set_weights([w[:, None].astype("float32")])
    steps.install(model, {**OFF, "sam_rho": rho})
    # The mean of three squares (sqrt(3 a_i / 2) w_i)^2.
    x = np.diag(np.sqrt(3 * a / 2)).astype("float32")
    logs = model.train_on_batch(x, np.zeros((3, 1), "float32"), return_dict=True)
    g = a * w
    expected = w - rate * a * (w + rho * g / np.sqrt((g**2).sum()))
    np.testing.assert_allclose(model.get_weights()[0][:, 0], expected, rtol=1e-6)
    assert logs["loss"] == pytest.approx((a * w**2).sum() / 2, rel=1e-6)  # at w, not at w + e


def test_sharpness_aware_steps_move_batch_statistics_once_and_weights_otherwise(real_digits):
    images, labels = real_digits[0][:32], real_digits[1][:32]
    after = []
    for rho in (0.0, 0.5):
        model, _ = compiled({"sam_rho": rho})
        fit(model, images, labels)
        after.append(values(model))
    is_statistic = ["moving" in v.name for v in model.variables]
    assert sum(is_statistic) == 2
    for plain, sharp, same in zip(*after, is_statistic, strict=True):
        assert np.array_equal(plain, sharp) == same


def test_averages_are_those_of_their_formula_and_what_evaluations_see(real_digits):
    from experiments.training.averaging import EvaluateAverages

    images, labels = real_digits[0][:160], real_digits[1][:160]
    model, averages = compiled({"ema": 0.5})
    expected, seen = [v.astype("float64") for v in values(model)], []

    class Follow(keras.callbacks.Callback):
        steps = 0

        def on_train_batch_end(self, batch, logs=None):
            self.steps += 1
            d = min(0.5, (1 + self.steps) / (10 + self.steps))
            for average, value in zip(expected, values(model), strict=True):
                average += (1 - d) * (value - average)

        def on_test_batch_begin(self, batch, logs=None):
            seen.append(values(model))

    own = Follow()
    model.fit(
        *(images, labels, 32, 2, 0, [EvaluateAverages(averages), own]),
        validation_data=(images[:32], labels[:32]),
        validation_freq=2,
        shuffle=False,
    )
    assert own.steps == 10
    for average, value, at_test, now in zip(
        averages.variables, expected, seen[0], values(model), strict=True
    ):
        np.testing.assert_allclose(average.numpy(), value, atol=1e-6)
        assert np.array_equal(at_test, average.numpy())
        assert not np.array_equal(now, average.numpy())  # training goes on with its own
    averages.use()
    assert all(map(np.array_equal, values(model), seen[0]))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"cutout": -1}, "--cutout must be 0 or a side in pixels"),
        ({"randaugment": 1.5}, "--randaugment must be in [0, 1], such as 0.5; got 1"),
        ({"mixup_alpha": 0.001}, "--mixup_alpha must be 0 or a finite number >= 0.0"),
        ({"cutmix_alpha": np.nan}, "--cutmix_alpha must be 0 or a finite number"),
        ({"ema": 1.0}, "--ema must be in [0, 1), such as 0.999; got 1."),
        ({"sam_rho": np.inf}, "--sam_rho must be a finite number >= 0"),
        ({"sam_rho": 0.1, "strategy": "mirrored"}, "for one device: leave it or --s"),
        ({"mixup_alpha": 1.0, "loss": "focal"}, "--mixup_alpha can't be used with --l"),
    ],
)
def test_a_flag_of_the_recipe_that_can_not_be_honoured_is_refused(flags, words):
    (problem,) = recipe_flags.problems({**OFF, **flags})
    assert words in problem


def test_a_cutout_as_large_as_the_images_is_refused_and_one_of_more_than_half_told(capsys):
    for side, shape in ((4, (8, 8, 1)), (0, (1, 1, 1)), (8, (8, 128, 1))):
        recipe_flags.check_images({**OFF, "cutout": side}, shape)
    assert capsys.readouterr().err == ""
    recipe_flags.check_images({**OFF, "cutout": 5}, (8, 8, 1))
    words = "--cutout=5 of images of 8 x 8 pixels hides more than usual: half of their side, 4"
    assert words in capsys.readouterr().err
    with pytest.raises(UserError, match="--cutout=9 of images of 8 x 9 pixels hides most of each"):
        recipe_flags.check_images({**OFF, "cutout": 9}, (8, 9, 1))


def test_the_default_is_no_recipe():
    assert list(recipe_flags.problems(OFF)) == []


@pytest.mark.parametrize("name", methods.METHODS)
def test_a_loss_takes_mixed_labels_exactly_where_they_mix_its_losses(name):
    rng, eye = np.random.default_rng(0), np.eye(4, dtype="float32")
    logits = rng.normal(size=(6, 4)).astype("float32")
    a, b = rng.integers(0, 4, (2, 6))
    for own in methods.METHODS[name].losses:
        settings = {"method": name, "loss": own.name, "train_epochs": 4}
        loss = methods.METHODS[name].make_loss(
            settings, class_counts=[50, 20, 10, 5], class_weights=[1.0, 1.0, 1.0, 1.0]
        )
        loss.class_weights.assign([0.2, 0.5, 1.1, 2.2])
        mixed = float(loss(0.3 * eye[a] + 0.7 * eye[b], logits))
        of_both = 0.3 * float(loss(a, logits)) + 0.7 * float(loss(b, logits))
        assert own.mixes == (mixed == pytest.approx(of_both, rel=1e-5))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(*DATA, *COSINE), ("--ema=0.9", "--sam_rho=0.1")])
def test_a_strong_run_is_continued_to_the_same_bits_and_evaluated_the_same(
    arguments, train_short, call_evaluate, tmp_path
):
    whole = train_short(tmp_path / "whole", *FOUR, *arguments)
    stopped_after(3, train_short, tmp_path / "stopped", *FOUR, *arguments)
    assert_same(train_short(tmp_path / "stopped", *FOUR, *arguments, "--resume"), whole)
    accuracy = whole.metrics["accuracy"]  # of the exported model, and of the last evaluation
    assert accuracy == pytest.approx(float(whole.history[-1]["val_accuracy"]), abs=1e-6)
    output = tmp_path / "evaluated.json"
    saved = whole.folder / "saved_model"
    call_evaluate(f"--saved_model={saved}", "--dataset=digits", f"--output={output}")
    assert f'"accuracy": {accuracy}' in output.read_text()


@pytest.mark.slow
def test_under_xla_a_sharpness_aware_averaged_epoch_is_the_same_but_for_rounding(
    only_train, tmp_path
):
    own = ("--train_epochs=1", "--warmup_epochs=0", "--ema=0.9", "--sam_rho=0.1")
    compiled, plain = (
        only_train(tmp_path / value, *own, f"--jit_compile={value}") for value in ("true", "false")
    )
    for a, b in zip(compiled.variables, plain.variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3)
