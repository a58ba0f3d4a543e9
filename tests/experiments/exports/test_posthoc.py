"""What experiments.evaluate does to a trained model first, and that test images choose nothing."""

import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

import cb_keras
from experiments.cli import UserError
from experiments.datasets import Split
from experiments.exports import posthoc, posthoc_flags
from experiments.runs import schema
from experiments.training import images

NOTHING = {**dict.fromkeys(posthoc_flags.NAMES), "posthoc": ["none"]}
SETTINGS = {"method": "class_balanced", "loss": "softmax", "cb_power": 0.0, "cb_beta": 0.9999}


def given(*steps, **values):
    return {**NOTHING, "posthoc": list(steps), **{f"posthoc_{k}": v for k, v in values.items()}}


def about(**changes):
    return {"settings": {**SETTINGS, **changes}, "class_counts": [9, 3, 1], "sampler": "uniform"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (given("calibration"), "--posthoc=calibration is unknown; there are none, logit_adjustmen"),
        (given("temperature", "tau_norm"), "give one of logit_adjustment, prior_shift and tau_nor"),
        (given("logit_adjustment", "tau_norm"), "and temperature alone or after it"),
        (given("none", "temperature"), "--posthoc=none,temperature: give one of"),
        (given("logit_adjustment", tau=-1.0), "`tau` must be a finite number >= 0, got -1.0"),
        (given("temperature", temperature=0.0), "`temperature` must be a finite number > 0"),
        (given("temperature", tau=1.0), "--posthoc_tau has no effect without --posthoc=logit_adj"),
        (given("none", saved_model="m"), "--posthoc_saved_model has no effect without --posthoc="),
        (given("prior_shift"), "--posthoc=prior_shift takes --posthoc_prior, the class frequencie"),
        (
            given("prior_shift", prior=["1", "0"]),
            "must be numbers > 0 such as 0.7,0.2,0.1; got 1,0",
        ),
        (given("tau_norm", saved_model="/"), "--posthoc_saved_model=/ is there already"),
    ],
)
def test_flags_that_are_wrong_or_have_no_effect_are_refused(flags, words):
    with pytest.raises(UserError) as caught:
        posthoc_flags.check(flags)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("description", "flags", "words"),
    [
        (about(loss="sigmoid"), given("temperature"), "is for a softmax or cosine head, and that"),
        (about(method="ldam"), given("tau_norm"), "is for a softmax or sigmoid head, and that of"),
        (about(cb_power=0.5), given("tau_norm"), "dealt with them, by --cb_power=0.5: give one of"),
        (about(method="balanced_softmax"), given("logit_adjustment"), "by --method=balanced_soft"),
        ({**about(), "sampler": "square_root"}, given("logit_adjustment"), "by --sampler=square_r"),
        (about(), given("prior_shift", prior=["1", "2"]), "has 2 numbers and the model 3 classes"),
    ],
)
def test_models_that_a_step_is_not_for_are_refused(description, flags, words):
    with pytest.raises(UserError) as caught:
        posthoc_flags.check_model(description, flags)
    assert words in str(caught.value)


@pytest.fixture(scope="module")
def linear():
    """A linear model of a long tail of digits, with held-out and other images: float64 logits."""
    pixels, labels = load_digits(return_X_y=True)
    counts = cb_keras.long_tailed_counts(10, 120, 0.05)
    chosen = cb_keras.choose_long_tail(labels, counts)
    train, held_out = chosen[::2], chosen[1::2]
    rest = np.setdiff1d(np.arange(len(labels)), chosen)
    fitted = LogisticRegression(max_iter=500).fit(pixels[train], labels[train])

    def model():
        head = keras.layers.Dense(10, name="logits")
        made = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), head])
        head.set_weights([fitted.coef_.T, fitted.intercept_])
        return made

    def split(i):
        return Split(pixels[i].reshape(-1, 8, 8, 1).astype("uint8"), labels[i].astype("int32"))

    return model, fitted, np.bincount(labels[train]), split(held_out), split(rest)


def logits_of(model, split):
    return keras.ops.convert_to_numpy(model(split.images.astype("float32")))


@pytest.mark.parametrize(
    "flags",
    [
        given("logit_adjustment"),
        given("logit_adjustment", "temperature", tau=1.0),
        given("tau_norm", "temperature"),
        given("prior_shift", "temperature", prior=[str(c) for c in range(1, 11)], temperature=3.0),
    ],
    ids=lambda flags: "_".join(flags["posthoc"]),
)
def test_the_logits_after_it_are_those_of_the_formulas(flags, linear):
    make, fitted, counts, held_out, rest = linear
    description = {"settings": SETTINGS, "class_counts": counts.tolist()}
    model, made = posthoc.apply(make(), description, flags, held_out, batch_size=64)

    def formula(split, tau, temperature):
        """In float64: Menon et al. 2021 eq. 9, Kang et al. 2020 eq. 3, Saerens et al. 2002."""
        x, w = split.images.reshape(len(split.images), -1).astype("float64"), fitted.coef_
        log_pi = np.log(counts / counts.sum())
        if "tau_norm" in flags["posthoc"]:
            w = w / np.linalg.norm(w, axis=1, keepdims=True) ** tau
        z = x @ w.T + fitted.intercept_
        if "logit_adjustment" in flags["posthoc"]:
            z = z - tau * log_pi
        if "prior_shift" in flags["posthoc"]:
            z = z - log_pi + np.log(np.arange(1, 11) / 55)
        return z / temperature

    tau, temperature = made.get("tau"), made.get("temperature", 1.0)
    expected = formula(rest, tau, temperature)
    np.testing.assert_allclose(logits_of(model, rest), expected, rtol=1e-4, atol=1e-4)
    assert made["steps"] == flags["posthoc"]
    chosen = posthoc_flags.searched(flags)
    assert [*made.get("chosen_by", ())] == chosen
    if "tau" in chosen:

        def score(t):
            return balanced_accuracy_score(held_out.labels, formula(held_out, t, 1).argmax(1))

        assert all(score(tau) >= score(t) - 1e-9 for t in np.arange(0, 3, 0.25))
    if "temperature" in chosen:

        def nll(t):
            log_p = log_softmax(formula(held_out, tau, t), axis=1)
            own = log_p[np.arange(len(log_p)), held_out.labels]
            return -np.mean([own[held_out.labels == c].mean() for c in range(10)])

        assert all(nll(temperature) <= nll(temperature * f) for f in (0.9, 0.98, 1.02, 1.1))
    if chosen:
        assert made["chosen_on"]["images"] == len(held_out.labels)
        assert made["chosen_on"]["fewest_of_a_class"] == np.bincount(held_out.labels).min()
        assert f"{len(held_out.labels)} training images" in " ".join(posthoc_flags.lines(made))


def test_a_search_that_reaches_the_end_of_its_range_is_recorded_and_told(linear, recwarn):
    make, _, counts, held_out, _ = linear
    description = {"settings": SETTINGS, "class_counts": counts.tolist()}
    asked = given("logit_adjustment", "temperature")
    _, usual = posthoc.apply(make(), description, asked, held_out, batch_size=64)
    assert "at_the_end_of_the_range" not in usual
    assert "end of its range" not in " ".join(posthoc_flags.lines(usual))
    # Class 0 for class 9 and so on: no temperature makes such logits likely, and by scikit-learn's
    # balanced accuracy the larger tau is the better, .002 at 0 and .022 at 3.
    wrong = Split(held_out.images, 9 - held_out.labels)
    _, made = posthoc.apply(make(), description, asked, wrong, batch_size=64)
    assert made["temperature"] == pytest.approx(1000)
    assert made["at_the_end_of_the_range"] == ["tau", "temperature"]
    told = "; the search reached the end of its range, a better one may lie beyond it"
    assert [line.endswith(told) for line in posthoc_flags.lines(made)] == [True, True]
    schema.check_posthoc("a.json", made)
    with pytest.raises(schema.DamagedError, match="at_the_end_of_the_range"):
        schema.check_posthoc("a.json", {**made, "at_the_end_of_the_range": "tau"})
    assert not [w for w in recwarn.list if w.category is cb_keras.posthoc.EndOfRangeWarning]


@pytest.fixture(scope="module")
def run(train_short, tmp_path_factory):
    """The plain softmax on digits, a quarter of the training images held out. Read only."""
    plain = ("--loss=softmax", "--cb_power=0", "--validation_fraction=0.25", "--train_epochs=6")
    return train_short(tmp_path_factory.mktemp("plain") / "run", *plain)


@pytest.mark.slow
def test_a_run_is_adjusted_by_its_own_held_out_images_and_baked_into_a_saved_model(
    run, call_evaluate, tmp_path
):
    held_out = images.held_out_again(run.config)
    recorded = run.metrics["validation"]["confusion_matrix"]
    assert np.bincount(held_out.labels).tolist() == np.sum(recorded, axis=1).tolist()
    output, baked = tmp_path / "metrics.json", tmp_path / "baked"
    call_evaluate(
        f"--saved_model={run.folder / 'model.keras'}",
        "--posthoc=logit_adjustment,temperature",
        *(f"--output={output}", f"--posthoc_saved_model={baked}"),
    )
    metrics = json.loads(output.read_text())
    made = metrics["posthoc"]
    assert made["chosen_on"]["split"] == "validation"
    assert made["chosen_by"] == {
        "tau": "balanced_accuracy",
        "temperature": "class_balanced_nll",
    }

    def logits(folder, pixels):
        serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
        return serve(images=tf.constant(pixels))["logits"].numpy().astype("float64")

    plain = logits(run.folder / "saved_model", held_out.images)
    counts = np.array(run.config["class_counts"])
    assert made["tau"] == cb_keras.posthoc.fit_tau(plain, held_out.labels, counts)
    expected = (plain - made["tau"] * np.log(counts / counts.sum())) / made["temperature"]
    np.testing.assert_allclose(logits(baked, held_out.images), expected, rtol=1e-4, atol=1e-4)
    answers = logits(baked, held_out.images).argmax(axis=1)
    confusion = confusion_matrix(held_out.labels, answers).tolist()
    assert metrics["validation"]["confusion_matrix"] == confusion
    assert {*metrics["validation"]} == {*run.metrics["validation"]}
    again = tmp_path / "again.json"
    call_evaluate(f"--saved_model={baked}", f"--output={again}")
    found = json.loads(again.read_text())
    for name in ("loss", "nll", "ece", "auc"):
        assert found[name] == pytest.approx(metrics[name], rel=1e-5)
    for name in ("confusion_matrix", "posthoc", "epochs"):
        assert found[name] == metrics[name]


@pytest.mark.slow
def test_nothing_is_chosen_on_test_images_where_a_run_held_none_out(run, call_evaluate, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.folder, folder)
    config = run.config
    config["flags"]["validation_fraction"] = 0
    (folder / "config.json").write_text(json.dumps(config))
    model, output = f"--saved_model={folder / 'model.keras'}", tmp_path / "metrics.json"
    with pytest.raises(UserError, match=r"held no training images .* give --posthoc_tau=1, or"):
        call_evaluate(model, "--posthoc=tau_norm")
    call_evaluate(model, "--posthoc=tau_norm", "--posthoc_tau=0.5", f"--output={output}")
    metrics = json.loads(output.read_text())
    assert metrics["posthoc"] == {"steps": ["tau_norm"], "tau": 0.5}
    assert "validation" not in metrics
    with pytest.raises(UserError, match=r"is a SavedModel; model\.keras lies next to it"):
        call_evaluate(f"--saved_model={folder / 'saved_model'}", "--posthoc=tau_norm")
    config = {**run.config, "class_counts": [n + 1 for n in config["class_counts"]]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="can't be found again"):
        images.held_out_again(config)
