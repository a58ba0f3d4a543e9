"""What the programs run on: the cores they may use, and what Keras was told elsewhere."""

import os
import platform
import sys

import keras
import matplotlib
import pytest

from cb_keras import fused
from experiments import datasets, decision_boundary, sweep, train
from experiments.boundary import boundary_training
from experiments.cli import UserError
from experiments.training import machine
from tests.experiments.cases import call, run_program


@pytest.fixture
def one_core():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(before)])
    yield
    os.sched_setaffinity(0, before)


def test_the_cores_that_are_recorded_are_those_that_the_process_is_bound_to(one_core):
    assert machine.environment()["device"] == [f"CPU, 1 core, {platform.machine()}"]
    with pytest.raises(UserError, match="between 1 and the number of cores, 1; got 2"):
        call(sweep.main, "--table=2", "--output_dir=unused", "--jobs=2")


@pytest.mark.parametrize(
    ("group", "limits", "cores"),
    [
        ("/", {"": "150000 100000"}, 1.5),
        ("/", {"": "max 100000"}, None),
        ("/a/b", {"": "300000 100000", "a": "50000 100000", "a/b": "max 100000"}, 0.5),
        ("/a", {}, None),
        (None, {}, None),
    ],
)
def test_the_quota_is_the_smallest_of_the_control_group_and_those_around_it(
    tmp_path, group, limits, cores
):
    if group:
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text(f"1:name=other:/x\n0::{group}\n")
    for name, limit in limits.items():
        folder = tmp_path / "sys" / "fs" / "cgroup" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cpu.max").write_text(f"{limit}\n")
    assert machine.quota(tmp_path) == cores


@pytest.mark.parametrize(
    ("limit", "words"),
    [(None, "4 cores"), (1.5, "4 cores (limited to the time of 1.5)"), (8, "4 cores")],
)
def test_a_quota_below_the_cores_is_told(monkeypatch, limit, words):
    monkeypatch.setattr(machine, "cores", lambda: 4)
    monkeypatch.setattr(machine, "quota", lambda: limit)
    assert machine.cores_in_words() == words


@pytest.fixture
def keras_settings(monkeypatch):
    """`keras.config`; what a test sets there is put back."""
    before = keras.config.floatx()
    monkeypatch.delenv("KERAS_HOME", raising=False)
    yield keras.config
    keras.config.set_floatx(before)
    keras.config.set_max_epochs(None)
    keras.config.set_max_steps_per_epoch(None)


PROBLEMS = {
    "backend": "KERAS_BACKEND is torch, but this program trains with tensorflow",
    "floatx": '"floatx" in ~/.keras/keras.json is float16, which the layers can\'t be mixed with',
    "max_epochs": "KERAS_MAX_EPOCHS is 1, with which Keras ends a training early",
    "max_steps_per_epoch": "KERAS_MAX_STEPS_PER_EPOCH is 1, with which Keras ends a training early",
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_setting_of_keras_that_spoils_a_training_is_refused_before_anything_is_done(
    capsys, tmp_path, monkeypatch, keras_settings, name
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data was loaded"))
    monkeypatch.setattr(boundary_training, "train_all", lambda *_: pytest.fail("it was trained"))
    if name == "backend":
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        monkeypatch.setattr(keras_settings, "backend", lambda: "torch")
    else:
        getattr(keras_settings, f"set_{name}")("float16" if name == "floatx" else 1)
    settings = {"loss": "focal", "cb_beta": 0.9, "gamma": 1.0, "imbalance_factor": 0.02, "seed": 0}
    for main, *flags in (
        (train.main, "--dataset=digits"),
        (sweep.main, "--table=2", "--output_dir=a"),
        (lambda _: decision_boundary.check({**settings, "output": "a.png"}),),
    ):
        status, line = run_program(capsys, main, *flags)
        assert status == 2
        assert line.startswith(f"error: {PROBLEMS[name]}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_backend_that_no_program_trains_with_is_refused_by_the_program_itself(
    run_python, tmp_path, monkeypatch
):
    pytest.importorskip("torch")
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    done = run_python("-m", "experiments.train", f"--output_dir={tmp_path / 'run'}")
    assert done.returncode == 2
    assert "error: KERAS_BACKEND is torch" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


REFUSED_ON_JAX = {
    "--strategy=mirrored": "--strategy=mirrored is TensorFlow's, and KERAS_BACKEND is jax",
    "--jit_compile=false": "--jit_compile=false can't be used with KERAS_BACKEND=jax",
    "--exports=saved_model": "--exports=saved_model is written by TensorFlow, which is not",
    "--dataset=tfds:mnist": "--dataset=tfds:mnist is read with tensorflow and",
}


@pytest.mark.parametrize("flag", REFUSED_ON_JAX)
def test_what_only_tensorflow_does_is_refused_on_jax_before_anything_is_done(
    capsys, tmp_path, monkeypatch, keras_settings, flag
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data was loaded"))
    monkeypatch.setattr(keras_settings, "backend", lambda: "jax")
    for name in ("tensorflow", "tensorflow_datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    status, line = run_program(capsys, train.main, "--dataset=digits", flag)
    assert status == 2
    assert line.startswith(f"error: {REFUSED_ON_JAX[flag]}")
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_can_not_be_drawn_are_refused_before_the_training(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(datasets, "load", lambda *_: pytest.fail("data was loaded"))

    def fail(*_, **__):
        raise RuntimeError("no font\nwas found")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", fail)
    status, line = run_program(capsys, train.main, f"--output_dir={tmp_path / 'run'}")
    assert status == 2
    assert line.startswith("error: --plots: matplotlib can't draw here (RuntimeError: no font was ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("has_loss", "expected"), [(True, True), (False, False)])
def test_a_loss_that_the_op_does_not_have_is_computed_without_it(monkeypatch, has_loss, expected):
    monkeypatch.setattr(fused, "available", lambda: True)
    assert machine.fused_op("auto", False, has_loss) is expected
    for compiles in (True, False):
        monkeypatch.setattr(fused, "compiles", lambda c=compiles: c)
        assert machine.fused_op("auto", True, has_loss) is (expected and compiles)
    assert machine.fused_op("off", False, has_loss) is False
