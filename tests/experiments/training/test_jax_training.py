"""Training on JAX, in processes of its own: against Keras' own loop, and without TensorFlow."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests import HANG_SECONDS
from tests.experiments.cases import ROOT, SHORT, Run, assert_same

pytestmark = pytest.mark.slow
# As if TensorFlow were not installed, but for TensorBoard's own packages.
WITHOUT = """
import importlib.machinery, runpy, sys
Finder = importlib.machinery.PathFinder
class Without(Finder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        left_out = name.partition(".")[0] in ("tensorflow", "tensorflow_datasets")
        return None if left_out else super().find_spec(name, path, target)
sys.meta_path = [Without if finder is Finder else finder for finder in sys.meta_path]
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
STOPPED = """
from experiments.training import history
original = history.HistoryWriter.on_epoch_end
def stop(self, epoch, logs=None):
    original(self, epoch, logs)
    if epoch == 1:
        raise KeyboardInterrupt
history.HistoryWriter.on_epoch_end = stop
"""


def run(*arguments, script=None, status=0):
    """Runs Python with JAX under Keras; returns what it printed."""
    pytest.importorskip("jax")
    code = [] if script is None else ["-c", script]
    flags = "--xla_backend_optimization_level=0"  # which compiles in half the time
    done = subprocess.run(
        [sys.executable, *code, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "jax", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=HANG_SECONDS,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def program(name, *arguments, status=0, before=""):
    """Runs a program of the experiments without TensorFlow."""
    script = WITHOUT.replace("runpy.run_module", f"{before}\nrunpy.run_module")
    return run(f"experiments.{name}", *arguments, script=script, status=status)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What `jax_steps` found: arrays by name."""
    path = tmp_path_factory.mktemp("steps") / "found.npz"
    run("-m", "tests.experiments.training.jax_steps", path)
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize(("name", "ends"), [("steps", range(6)), ("loop", (4, 5))])
def test_the_steps_and_the_loop_train_as_the_fit_of_keras(trained, name, ends):
    by_keras = {key for key in trained if key.startswith("keras_") and key != "keras_steps"}
    assert {"keras_figure_val_balanced_accuracy", "keras_variable_0"} <= by_keras
    for key in by_keras:
        found = trained[key.replace("keras", name, 1)]
        np.testing.assert_allclose(found, trained[key], rtol=1e-5, atol=1e-6, err_msg=key)
    assert trained[f"{name}_steps"].tolist() == [*ends, *ends]  # of two epochs


def test_float16_trains_as_float32_with_its_loss_scaled(trained):
    np.testing.assert_allclose(
        trained["float16_figure_loss"], trained["keras_figure_loss"], rtol=1e-2
    )


def test_a_frozen_trunk_keeps_its_weights_its_velocity_and_its_statistics(trained):
    np.testing.assert_array_equal(trained["frozen_kernel_0"], trained["frozen_before"])
    for name in ("velocity", "mean"):
        assert not trained[f"frozen_{name}_0"].any()
        assert trained[f"frozen_{name}_1"].any()
    assert (trained["frozen_kernel_1"] != trained["frozen_before"]).any()


@pytest.fixture(scope="module")
def digits_of(tmp_path_factory, real_digits):
    """Function of a kind that returns `--dataset` of digits as PNG or as arrays."""
    images, labels = real_digits
    folder = tmp_path_factory.mktemp("digits")

    def write(kind):
        if kind == "npz":
            np.savez(folder / "digits.npz", x=images[:600], y=labels[:600])
            return f"npz:{folder / 'digits.npz'}"
        for i, (image, label) in enumerate(zip(images[:600, ..., 0], labels, strict=False)):
            (folder / "png" / str(label)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / "png" / str(label) / f"{i}.png")
        return f"folder:{folder / 'png'}"

    return write


SETTINGS = (*SHORT, "--train_epochs=3", "--batch_size=128", "--precision=mixed_bfloat16")
RECIPE = ("--cutout=3", "--mixup_alpha=1", "--cutmix_alpha=1", "--ema=0.9", "--sam_rho=0.1")
# Class weights that are measured on the images, and some that are others in every epoch.
OWN = {
    "npz": ("--loss=softmax", "--method=class_volume", "--randaugment=0.5", *RECIPE),
    "folder": ("--method=difficulty",),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, digits_of):
    """Function of a kind of data that trains a run once, without TensorFlow, the strong recipe on
    one of them; returns the `Run` and its flags.
    """
    there = {}

    def train(kind):
        if kind not in there:
            folder = tmp_path_factory.mktemp(kind) / "run"
            data = [f"--dataset={digits_of(kind)}", f"--data_dir={folder.parent / 'cache'}"]
            flags = [*SETTINGS, *OWN[kind], *data]
            words = program("train", *flags, f"--output_dir={folder}")
            assert "nothing is written for TensorBoard, which takes TensorFlow" in words
            last = words.rstrip().splitlines()[-1]
            assert last.startswith(
                "no saved_model/ there, which on JAX takes --exports=saved_model"
            )
            assert last.endswith(f"--saved_model={folder / 'model.keras'}")
            there[kind] = Run(folder), flags
        return there[kind]

    return train


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_a_run_trains_and_its_model_gives_the_figures_that_it_wrote(runs, kind, tmp_path):
    whole, _ = runs(kind)
    assert {path.name for path in whole.folder.iterdir()} == {
        *("checkpoint", "config.json", "history.csv", "metrics.json", "model.keras"),
        "training_images.npy",
    }
    assert len(whole.history) == 3
    assert whole.column("loss")[-1] < whole.column("loss")[0]
    assert "jax" in whole.config["versions"]
    assert "tensorflow" not in whole.config["versions"]
    output = tmp_path / "found.json"
    program("evaluate", f"--saved_model={whole.folder / 'model.keras'}", f"--output={output}")
    found = json.loads(output.read_text())
    assert found.pop("test_data")["training_images"] == 0
    assert found == whole.metrics


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(runs, kind, tmp_path):
    whole, flags = runs(kind)
    folder = tmp_path / "run"
    arguments = (*flags, f"--output_dir={folder}")
    assert "epoch 1 of 3 is saved" in program("train", *arguments, status=130, before=STOPPED)
    assert "continuing after epoch 1 of 3" in program("train", *arguments, "--resume")
    assert_same(Run(folder), whole)


def test_predict_and_compare_take_the_model_of_a_run(runs, tmp_path, real_digits):
    run, _ = runs("npz")
    image = tmp_path / "four.png"
    Image.fromarray(real_digits[0][4, ..., 0]).save(image)
    model = f"--saved_model={run.folder / 'model.keras'}"
    assert str(image) in program("predict", model, image)
    assert "both right" in program("compare", run.folder, run.folder)


def test_tensorflow_writes_a_saved_model_with_the_probabilities_of_jax(tmp_path):
    pytest.importorskip("tensorflow")
    folder = tmp_path / "run"
    arguments = (*SHORT, "--dataset=digits", "--train_epochs=2", "--exports=saved_model")
    run("-m", "experiments.train", *arguments, f"--output_dir={folder}")
    answers = []
    for name in ("model.keras", "saved_model"):
        file = tmp_path / f"{name}.npz"
        model = f"--saved_model={folder / name}"
        run("-m", "experiments.evaluate", model, f"--predictions={file}")
        with np.load(file) as found:
            answers.append(dict(found))
    by_jax, by_tensorflow = answers
    for name in ("logits", "probabilities"):
        np.testing.assert_allclose(by_tensorflow[name], by_jax[name], rtol=1e-5, atol=1e-5)
    assert len(by_jax["labels"]) > 100
    assert np.ptp(by_jax["probabilities"]) > 0.01
    description = json.loads((folder / "saved_model/assets.extra/cb_keras.json").read_text())
    assert description["class_counts"] == Run(folder).config["class_counts"]


def test_a_missing_backend_is_one_line_with_the_remedy(tmp_path):
    before = "import os; os.environ['KERAS_BACKEND'] = 'tensorflow'"
    arguments = ("--dataset=digits", f"--output_dir={tmp_path / 'run'}")
    words = program("train", *arguments, status=2, before=before)
    assert words.startswith("error: ")
    assert "cb_keras needs Keras and one of its backends: pip install 'cb_keras[ten" in words
    assert words.count("\n") == 1


def test_a_saved_model_is_refused_without_tensorflow(tmp_path):
    words = program("evaluate", f"--saved_model={tmp_path}", status=2)
    assert "which takes TensorFlow to load, and that is not installed: give model.keras" in words


def test_what_takes_tensorflow_is_refused_before_anything_is_done(tmp_path):
    words = program(
        *("train", "--dataset=cifar10", "--strategy=mirrored", "--jit_compile=false"),
        *("--exports=saved_model", f"--output_dir={tmp_path / 'run'}"),
        status=2,
    )
    for flag in ("--dataset=cifar10 is", "--strategy=mirrored is", "--jit_compile=false can't"):
        assert f"\n  {flag}" in words
    assert "--exports=saved_model is written by TensorFlow, which is not installed" in words
    assert list(tmp_path.iterdir()) == []
