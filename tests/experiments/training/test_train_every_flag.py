"""Every flag changes the run: a run is compared with one where a single flag differs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import flags

from cb_keras import fused
from experiments import datasets, exports
from experiments.cli import UserError
from experiments.datasets import pipeline
from experiments.exports import evaluation
from experiments.training import flags as train_flags
from experiments.training import images, protocol
from tests.experiments.cases import Run
from tests.experiments.training.cases import (
    an_average_of_every_variable,
    class_weights,
    config,
    epochs,
    evaluated_in,
    mean_weight_of_one,
    other_examples,
    rates,
    weights_differ,
)

# flag -> arguments that change it, and what the run must show. 342 images in batches of 64 are 6
# steps an epoch; the plain run has 2 epochs, warm-up in the first 3 steps, half the rate in the
# second epoch.
CHANGES = {
    "loss": (["--loss=sigmoid"], weights_differ),
    "gamma": (["--gamma=4"], weights_differ),
    "cb_power": (["--cb_power=0.5"], class_weights(0.9999, 0.5)),
    "cb_beta": (["--cb_beta=0.9"], class_weights(0.9, 1.0)),
    "cb_normalize": (["--cb_normalize=examples"], mean_weight_of_one),
    "long_tail": (
        ["--long_tail=natural"],
        # The 1797 digits are 178 182 177 183 181 182 181 179 174 180 (scikit-learn's docs).
        config("class_counts", value=[128, 132, 127, 133, 131, 132, 131, 129, 124, 130]),
    ),
    "imbalance_factor": (["--imbalance_factor=1"], config("class_counts", value=[124] * 10)),
    "sampler": (["--sampler=class_balanced"], weights_differ),
    "validation_fraction": (
        ["--validation_fraction=0.25"],
        config("class_counts", value=[93, 60, 38, 25, 16, 10, 7, 4, 2, 1]),
    ),
    "train_epochs": (["--train_epochs=3"], epochs(3)),
    "eval_epochs": (["--eval_epochs=2"], evaluated_in("2")),
    "batch_size": (["--batch_size=100"], config("resolved", "steps_per_epoch", value=4)),
    "learning_rate": (["--learning_rate=0.02"], rates(0.02, 0.01)),
    "warmup_epochs": (["--warmup_epochs=1"], rates(0.1 * 5 / 6, 0.05)),
    "lr_boundaries": (["--lr_boundaries=0.5,0.75"], rates(0.1, 0.025)),
    "lr_decay": (["--lr_decay=0.1"], rates(0.1, 0.01)),
    "balanced_lr_decay": (["--imbalance_factor=1", "--balanced_lr_decay=0.2"], rates(0.1, 0.02)),
    "lr_schedule": (
        ["--lr_schedule=cosine", "--lr_boundaries=0.8,0.9", "--lr_decay=0.01"],
        # After the warm-up 9 steps are left, of which the 2nd and the 8th end an epoch.
        rates(*(0.05 * (1 + np.cos(np.pi * step / 9)) for step in (2, 8))),
    ),
    "cutout": (["--cutout=4"], weights_differ),
    "randaugment": (["--randaugment=0.5"], weights_differ),
    "ema": (["--ema=0.9"], an_average_of_every_variable),
    "sam_rho": (["--sam_rho=0.1"], weights_differ),
    "momentum": (["--momentum=0.5"], weights_differ),
    "weight_decay": (["--weight_decay=0.1"], weights_differ),
    "freeze_epochs": (["--freeze_epochs=1"], weights_differ),
    "augmentation": (["--augmentation=none"], weights_differ),
    "seed": (["--seed=1"], other_examples),
}


@pytest.fixture(scope="module")
def plain(only_train, tmp_path_factory):
    """What the changed runs are compared with. Read only."""
    return only_train(tmp_path_factory.mktemp("plain") / "run")


@pytest.mark.parametrize("flag", CHANGES)
@pytest.mark.slow
def test_a_changed_flag_changes_the_run(flag, tmp_path, only_train, plain):
    arguments, check = CHANGES[flag]
    run = only_train(tmp_path / "run", *arguments)
    assert run.config["flags"][flag] != plain.config["flags"][flag]
    check(run, plain)


def test_balanced_lr_decay_is_not_used_on_a_long_tail(tmp_path, only_train, plain):
    run = only_train(tmp_path / "run", "--balanced_lr_decay=0.2")
    assert run.column("learning_rate") == plain.column("learning_rate")


def test_depth_precision_and_weight_decay_are_those_of_the_network(network_of):
    for policy, name, weight_decay, *arguments in (
        ("float32", "resnet8", 2e-4),
        ("mixed_bfloat16", "resnet14", 0.1, "--depth=14", "--weight_decay=0.1"),
    ):
        model = network_of(*arguments, f"--precision={policy}")
        assert model.name == name
        assert model.get_layer("stem_conv").dtype_policy.name == policy
        # On all trainable variables, but not on the last bias for focal: the protocol.
        squares = [np.sum(np.square(v.numpy())) for v in model.trainable_variables[:-1]]
        penalty = float(sum(model.losses))
        assert penalty == pytest.approx(weight_decay * sum(squares) / 2, rel=1e-5)


def test_backbone_is_the_network_and_backbone_weights_what_it_starts_from(network_of, tmp_path):
    start = network_of("--backbone=resnet14", "--depth=14", "--seed=5")
    start.save(tmp_path / "start.keras")
    weights = f"--backbone_weights={tmp_path / 'start.keras'}"
    model = network_of("--depth=14", weights)
    assert start.name == model.name == "resnet14"
    *trunk, kernel, _ = zip(model.weights, start.weights, strict=True)
    assert all(np.array_equal(a, b) for a, b in trunk)
    assert not np.array_equal(*kernel)


def test_method_and_loss_choose_the_head_of_the_network(network_of):
    # The protocol: where the last bias starts, and whether it is among the penalised variables.
    for loss, start, penalised in (
        ("softmax", 0.0, True),
        ("sigmoid", -np.log(9), False),
        ("focal", -np.log(9), False),
    ):
        model = network_of(f"--loss={loss}")
        np.testing.assert_allclose(model.trainable_variables[-1].numpy(), start, rtol=1e-6)
        assert (model.layers[-1].bias_regularizer is not None) is penalised


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "change"),
    [
        ("logit_adjusted", "--tau=0.5"),
        ("vs", "--vs_gamma=0.5"),
        ("ldam", "--max_margin=0.1"),
        ("ldam", "--scale=5"),
        ("cb_drw", "--drw_start=0.1"),
        ("class_balanced", "--mixup_alpha=1"),
        ("class_balanced", "--cutmix_alpha=1"),
    ],
)
def test_tau_vs_gamma_max_margin_scale_drw_start_mixup_alpha_and_cutmix_alpha_change_the_runs(
    method, change, tmp_path, only_train
):
    own = (f"--method={method}", "--loss=softmax")
    run, other = only_train(tmp_path / "a", *own, change), only_train(tmp_path / "b", *own)
    weights_differ(run, other)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["--ramp_start=0.5", "--ramp_shape=step"])
def test_ramp_start_and_ramp_shape_change_the_run_of_a_ramp(change, tmp_path, only_train):
    own = ("--method=power_ramp", "--loss=softmax", "--train_epochs=3")
    run, other = only_train(tmp_path / "a", *own, change), only_train(tmp_path / "b", *own)
    weights_differ(run, other)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["--difficulty_power=2", "--difficulty_momentum=0"])
def test_difficulty_power_and_difficulty_momentum_change_the_run(change, tmp_path, only_train):
    own = ("--method=difficulty", "--loss=softmax", "--train_epochs=4")
    run, other = only_train(tmp_path / "a", *own, change), only_train(tmp_path / "b", *own)
    weights_differ(run, other)


@pytest.mark.slow
def test_volume_quantile_changes_the_weights_that_class_volume_trains_with(tmp_path, only_train):
    own = ("--method=class_volume", "--loss=softmax")
    run = only_train(tmp_path / "a", *own, "--volume_quantile=0.9")
    other = only_train(tmp_path / "b", *own)
    assert run.config["class_volumes"][0] < other.config["class_volumes"][0]
    weights_differ(run, other)


@pytest.mark.slow
def test_first_stage_smooth_head_and_smooth_tail_change_a_second_stage(
    tmp_path, train_tiny, only_train
):
    for seed in (0, 1):
        train_tiny(tmp_path / f"{seed}", "--loss=softmax", f"--seed={seed}", "--eval_epochs=2")

    def second(name, *arguments, first=0):
        own = ("--method=mislas", "--loss=softmax", f"--first_stage={tmp_path / str(first)}")
        return only_train(tmp_path / name, *own, *arguments)

    plain = second("plain")
    weights_differ(second("head", "--smooth_head=0.8"), plain)
    weights_differ(second("tail", "--smooth_tail=0.3"), plain)
    weights_differ(second("first", first=1), plain)


def test_dataset_and_data_dir_name_the_data_and_same_data_as_refuses_others(
    tmp_path, only_train, write_tfds
):
    sizes = {}
    for folder, end in (("a", 120), ("b", 300)):
        splits = {"train": slice(0, end), "test": slice(700, 730)}
        write_tfds(tmp_path / folder, "tiny", splits)
        data = ("--dataset=tfds:tiny", f"--data_dir={tmp_path / folder}", "--long_tail=natural")
        once = ("--train_epochs=1", "--warmup_epochs=0")
        run = only_train(tmp_path / f"run_{folder}", *data, *once)
        sizes[folder] = sum(run.config["class_counts"])
    assert sizes == {"a": 120, "b": 300}
    with pytest.raises(UserError, match=r"--same_data_as: .*\(120 train images there, 300 here"):
        only_train(tmp_path / "other", *data, *once, f"--same_data_as={tmp_path / 'run_a'}")
    only_train(tmp_path / "same", *data, *once, f"--same_data_as={tmp_path / 'run_b'}")


@pytest.mark.slow
def test_eval_batch_size_is_that_of_the_evaluations(tmp_path, train_tiny, monkeypatch):
    sizes = []
    evaluation_dataset, evaluate = pipeline.evaluation_dataset, evaluation.evaluate

    def during(split, batch_size, one_hot):
        sizes.append(batch_size)
        return evaluation_dataset(split, batch_size, one_hot)

    def after(folder, description, split, batch_size):
        sizes.append(batch_size)
        return evaluate(folder, description, split, batch_size)

    monkeypatch.setattr(pipeline, "evaluation_dataset", during)
    monkeypatch.setattr(evaluation, "evaluate", after)
    train_tiny(tmp_path / "run", "--eval_batch_size=250")
    assert sizes == [250, 250]


def test_exports_says_what_is_written(tmp_path, train_tiny, monkeypatch):
    def note(model, path, description):
        path.write_text(f"{model.name} {description['dataset']}")
        raise KeyboardInterrupt  # the SavedModel comes after it

    monkeypatch.setitem(exports.EXPORTS, "note", note)
    folder = tmp_path / "run"
    once = ("--train_epochs=1", "--warmup_epochs=0", "--eval_epochs=9")
    with pytest.raises(KeyboardInterrupt):
        train_tiny(folder, "--exports=note,saved_model", *once)
    assert (folder / "note").read_text() == "tiny digits"
    assert not (folder / "saved_model").exists()


@pytest.mark.parametrize(
    ("precision", "scaled"),
    [("float32", False), ("mixed_bfloat16", False), ("mixed_float16", True)],
)
def test_precision_float16_scales_the_loss(precision, scaled):
    optimizer = protocol.make_optimizer({"momentum": 0.9, "precision": precision}, 0.1)
    assert isinstance(optimizer, keras.optimizers.LossScaleOptimizer) == scaled


@pytest.mark.slow
def test_jit_compile_hands_the_model_to_xla(tmp_path, only_train, monkeypatch):
    seen, fit = [], keras.Model.fit

    def watched(model, *arguments, **named):
        seen.append(model.jit_compile)
        return fit(model, *arguments, **named)

    monkeypatch.setattr(keras.Model, "fit", watched)
    arguments = ("--train_epochs=1", "--warmup_epochs=0")
    for value in ("true", "false"):
        run = only_train(tmp_path / value, f"--jit_compile={value}", *arguments)
        assert run.config["resolved"]["jit_compile"] is (value == "true")
    assert seen == [True, False]
    compiled, composed = (Run(tmp_path / value) for value in ("true", "false"))
    assert compiled.column("loss") == pytest.approx(composed.column("loss"), rel=1e-3)


@pytest.mark.slow
def test_strategy_mirrored_runs_under_the_mirrored_strategy(tmp_path, only_train, capsys):
    only_train(tmp_path / "run", "--strategy=mirrored", "--train_epochs=1", "--warmup_epochs=0")
    assert "mirrored over 1 device(s)" in capsys.readouterr().out


def test_deterministic_asks_tensorflow_for_such_operations(tmp_path, train_short, monkeypatch):
    asked = []

    def load(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(tf.config.experimental, "enable_op_determinism", lambda: asked.append(1))
    monkeypatch.setattr(datasets, "load", load)
    for arguments in ([], ["--deterministic"]):
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / f"run{len(arguments)}", *arguments)
        assert len(asked) == len(arguments)


def test_output_dir_is_where_the_run_is(tmp_path, call_train, monkeypatch):
    monkeypatch.chdir(tmp_path)
    default = "digits_factor0.02_softmax_power1_beta0.9999_epochs7_seed0"
    there = []

    def load(*_):
        there.append([str(p.relative_to(tmp_path)) for p in sorted(tmp_path.rglob("*"))])
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "load", load)
    for arguments in (["--output_dir=here"], []):
        with pytest.raises(KeyboardInterrupt):
            call_train("--dataset=digits", "--train_epochs=7", *arguments)
    assert there == [["here"], ["runs", f"runs/{default}"]]


def test_resume_is_needed_where_a_run_was_begun(short_run, train_short, capsys):
    with pytest.raises(UserError, match="add --resume"):
        train_short(short_run.folder)
    train_short(short_run.folder, "--resume")
    assert "is complete" in capsys.readouterr().out


@pytest.mark.slow
def test_plots_are_drawn_or_not(digits_run, short_run):
    assert len(list((digits_run.folder / "plots").glob("*.png"))) == 6
    assert not (short_run.folder / "plots").exists()


def test_download_is_handed_to_the_loader(tmp_path, train_short, monkeypatch):
    seen = []

    def load(name, data_dir, download, choices):
        del choices
        seen.append((name, data_dir, download))
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "load", load)
    for arguments in ([], ["--download"]):
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / f"run{len(seen)}", "--dataset=tfds:tiny", *arguments)
    assert seen == [("tfds:tiny", None, False), ("tfds:tiny", None, True)]


def test_image_size_test_fraction_and_split_seed_are_handed_to_the_loader(
    tmp_path, train_short, monkeypatch
):
    seen = []  # what they do is in test_train_folder.py and datasets/folder

    def load(name, data_dir, download, choices):
        seen.append(choices)
        raise KeyboardInterrupt

    monkeypatch.setattr(datasets, "load", load)
    given = ("--image_size=6x9", "--test_fraction=0.3", "--split_seed=4")
    for arguments in ((), given):
        with pytest.raises(KeyboardInterrupt):
            train_short(tmp_path / "run", f"--dataset=folder:{tmp_path}", *arguments)
    assert seen == [
        {"image_size": None, "test_fraction": 0.2, "split_seed": 0},
        {"image_size": (6, 9), "test_fraction": 0.3, "split_seed": 4},
    ]


def test_runs_with_one_long_tail_seed_learn_from_the_same_images():
    def kept(**own):
        given = {"dataset": "digits", "data_dir": None, "download": False, **own}
        return images.load({**train_flags.protocol_defaults(), **given})[1].images

    np.testing.assert_array_equal(kept(seed=3, long_tail_seed=1), kept(seed=1))
    assert not np.array_equal(kept(seed=1), kept(seed=3))


@pytest.mark.slow
def test_fused_op_chooses_the_way_and_keeps_the_curve(tmp_path, only_train):
    fused.build()  # if it is not there yet
    on = only_train(tmp_path / "on", "--fused_op=on")
    off = only_train(tmp_path / "off", "--fused_op=off")
    assert (on.config["resolved"]["fused_op"], off.config["resolved"]["fused_op"]) == (True, False)
    # Rounding differs, and grows from step to step: the first epoch is compared closely.
    np.testing.assert_allclose(on.column("loss")[0], off.column("loss")[0], rtol=1e-5)
    np.testing.assert_allclose(on.column("loss"), off.column("loss"), rtol=1e-3)


def test_fused_op_with_xla_that_cant_call_it_is_refused(tmp_path, train_short, monkeypatch):
    monkeypatch.setattr(fused, "available", lambda: True)
    monkeypatch.setattr(fused, "compiles", lambda: False)
    with pytest.raises(UserError, match="--fused_op=on can't be used with --jit_compile=true"):
        train_short(tmp_path / "run", "--fused_op=on", "--jit_compile=true")


def test_every_flag_has_a_test_in_this_file():
    names = {name for group in train_flags.GROUPS.values() for name in group}
    tests = " ".join(name for name in globals() if name.startswith("test_"))
    missing = {name for name in names if name not in CHANGES and f"_{name}_" not in tests}
    assert missing == set()
    assert set(CHANGES) <= names
    assert len(names) > 25


def test_every_flag_is_in_one_group_as_help_shows_it():
    grouped = [name for group in train_flags.GROUPS.values() for name in group]
    defined = flags.FLAGS.flags_by_module_dict()
    own = ("experiments.training.flags", "experiments.training.recipe_flags")
    own += ("experiments.datasets.data_flags", "experiments.methods.method")
    assert sorted(grouped) == sorted(flag.name for module in own for flag in defined[module])
