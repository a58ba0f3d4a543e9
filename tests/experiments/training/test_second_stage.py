"""Second stages: what they begin with, what they train, and runs that are continued."""

import json
import pathlib
import shutil
import types

import keras
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

import cb_keras
from experiments.cli import UserError
from experiments.training import first_stage
from experiments.training import flags as train_flags
from experiments.training.settings import checked_settings
from tests.experiments.cases import assert_same
from tests.experiments.training.cases import stopped_after

OLDER = (
    pathlib.Path(__file__).parents[3]
    / "results/runs/cifar10_factor0.02_softmax_power0_beta0.9999_epochs200_seed0"
)
FOUR = ("--train_epochs=4", "--eval_epochs=2", "--loss=softmax", "--learning_rate=0.05")
BALANCED = "--sampler=class_balanced"


@pytest.fixture(scope="module")
def first(train_tiny, tmp_path_factory):
    """A first stage of the tiny network, with a softmax. Read only."""
    folder = tmp_path_factory.mktemp("first") / "run"
    once = ("--train_epochs=1", "--eval_epochs=9", "--warmup_epochs=0", "--loss=softmax")
    return train_tiny(folder, *once, "--validation_fraction=0.2")


def settings(*arguments):
    with flagsaver.flagsaver():
        flags.FLAGS(["train", *map(str, arguments)])
        return checked_settings()


def refusal(*arguments):
    with pytest.raises(UserError) as caught:
        settings(*arguments)
    return str(caught.value)


def test_the_data_and_the_network_are_those_of_the_first_stage(first):
    found = settings("--method=crt", f"--first_stage={first.folder}")
    theirs = first.config["flags"]
    assert {n: found[n] for n in first_stage.SHARED} == {n: theirs[n] for n in first_stage.SHARED}
    assert (found["dataset"], found["depth"], found["validation_fraction"]) == ("digits", 8, 0.2)
    assert found["train_epochs"] == 200  # the rest are its own
    again = settings(*train_flags.command_line(found))
    assert again == found
    recorded = train_flags.recorded(found)["first_stage"]
    assert recorded.startswith("run: model.keras (sha256 ")


def test_what_a_second_stage_can_not_begin_with_is_refused(first, tmp_path):
    assert "--method=crt is a second stage: give the directory of a" in refusal("--method=crt")
    own = f"--first_stage={first.folder}"
    assert "belongs to --method=crt and --method=mislas" in refusal(own)
    assert "holds no finished run" in refusal("--method=crt", f"--first_stage={tmp_path}")
    words = refusal("--method=crt", own, "--depth=14", "--seed=3", "--freeze_epochs=1")
    assert "--depth=14 is not that of --first_stage, 8, whose data and network" in words
    assert "--seed=3 is not that of --first_stage, 0" in words
    assert "--freeze_epochs has no effect on --method=crt, which freezes all but the" in words
    shutil.copytree(first.folder, tmp_path / "focal")
    changed = {**first.config, "flags": {**first.config["flags"], "loss": "focal"}}
    (tmp_path / "focal" / "config.json").write_text(json.dumps(changed))
    settings("--method=crt", f"--first_stage={tmp_path / 'focal'}")
    words = refusal("--method=mislas", f"--first_stage={tmp_path / 'focal'}")
    assert (
        "learns scales for the logits of a softmax, and --first_stage is --method=class_" in words
    )
    given = {"first_stage": str(first.folder)}
    record = {**first.config, "class_counts": [1] * 10}
    first_stage.check_data(given, first.config)
    with pytest.raises(UserError, match=r"other data than are here now \(class 0 has 99 training"):
        first_stage.check_data(given, record)


@pytest.fixture(scope="module")
def begun(first, train_tiny, tmp_path_factory):
    """Function of a method that returns its network before the first step."""

    def begin(method, *arguments):
        seen = []

        def fit(model, *_, **__):
            seen.append(model)
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(keras.Model, "fit", fit)
            own = ("--loss=softmax", f"--method={method}", f"--first_stage={first.folder}")
            with pytest.raises(KeyboardInterrupt):
                train_tiny(tmp_path_factory.mktemp("begun") / "run", *own, *arguments)
        return seen[0]

    return begin


def test_crt_begins_with_the_trunk_and_mislas_with_the_logits_of_the_first_stage(
    first, begun, real_digits
):
    images = real_digits[0][:20].astype("float32")
    before = keras.models.load_model(first.folder / "model.keras", compile=False)
    new, scaled = begun("crt"), begun("mislas")
    for a, b in zip(before.layers[:-1], new.layers[:-1], strict=True):
        assert all(map(np.array_equal, a.get_weights(), b.get_weights()))
    assert not np.array_equal(before.layers[-1].get_weights()[0], new.layers[-1].get_weights()[0])
    np.testing.assert_allclose(
        scaled.predict(images, verbose=0), before.predict(images, verbose=0), rtol=1e-5
    )
    assert np.array_equal(scaled.layers[-1].get_weights()[2], np.ones(10))
    # The penalty of the weight decay, half of it times the squares, is on all of the head too.
    penalty = float(sum(scaled.losses))
    scaled.layers[-1].scale.assign([2.0] * 10)
    assert float(sum(scaled.losses)) - penalty == pytest.approx(2e-4 / 2 * 30, rel=1e-4)


def test_another_network_in_the_first_stage_is_refused(first, begun):
    from experiments.training import second_stage

    model = types.SimpleNamespace(layers=begun("crt").layers[3:])  # without the first convolution
    with pytest.raises(UserError, match=r"has another network in its model\.keras"):
        second_stage.begin(model, {"first_stage": str(first.folder)}, "new")


def test_the_network_of_an_older_version_with_fewer_layers_is_taken(real_digits):
    from experiments.training import second_stage

    older = keras.models.load_model(OLDER / "model.keras", compile=False)
    model = cb_keras.resnet.resnet_cifar(32)
    assert len(older.layers) == len(model.layers) - 2
    own = {"first_stage": str(OLDER), "sampler": "class_balanced"}
    begun = second_stage.begin(model, own, "new")
    images = np.repeat(np.pad(real_digits[0][:4], [(0, 0), (12, 12), (12, 12), (0, 0)]), 3, axis=-1)
    trunks = (keras.Model(m.inputs, m.layers[-2].output) for m in (begun, older))
    found, right = (trunk(images.astype("float32"), training=False) for trunk in trunks)
    # In float32 and, as it was trained, in bfloat16.
    np.testing.assert_allclose(found, np.array(right, "float32"), atol=0.05 * np.abs(found).max())


@pytest.mark.slow
@pytest.mark.parametrize("method", ["crt", "mislas"])
def test_a_second_stage_trains_the_head_alone_is_continued_and_evaluated_the_same(
    method, train_short, call_evaluate, tmp_path
):
    mixed = ("--mixup_alpha=1", "--cb_power=0")
    first = train_short(tmp_path / "first", *FOUR, *mixed)
    own = (*FOUR, BALANCED, f"--method={method}", f"--first_stage={first.folder}")
    whole = train_short(tmp_path / "whole", *own)
    stopped_after(3, train_short, tmp_path / "stopped", *own)
    assert_same(train_short(tmp_path / "stopped", *own, "--resume"), whole)
    before, after = (keras.models.load_model(r.folder / "model.keras") for r in (first, whole))
    for a, b in zip(before.layers[:-1], after.layers[:-1], strict=True):
        # The moving statistics of batch normalisation too.
        assert all(map(np.array_equal, a.get_weights(), b.get_weights()))
    assert all(layer.trainable for layer in after.layers)  # in the file: it was frozen
    heads = before.layers[-1].get_weights(), after.layers[-1].get_weights()
    assert not any(map(np.array_equal, *heads))
    if method == "mislas":
        assert not np.allclose(heads[1][2], 1)
    output = tmp_path / "evaluated.json"
    call_evaluate(
        f"--saved_model={whole.folder / 'saved_model'}", "--dataset=digits", f"--output={output}"
    )
    evaluated = json.loads(output.read_text())
    for figure in ("accuracy", "loss", "nll"):
        assert evaluated[figure] == pytest.approx(whole.metrics[figure], rel=1e-6)
