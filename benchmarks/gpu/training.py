"""Stage: ResNet-32 on JAX. Images per second, then cells of table 2 as far as the time goes.

The images are CIFAR-10's long tail of factor 0.02 and seed 0, and its test set.
"""

import functools
import json

from benchmarks.gpu import images
from benchmarks.gpu.stages import StepFailed

# Cells of table 2 in the order of their worth: every loss plain and class-balanced first.
_CELLS = [(loss, power) for power in (0, 1, 0.5, 2) for loss in ("softmax", "focal", "sigmoid")]
_EPOCHS = 200


def run(stage):
    """Unpacks the images, measures the speed, then trains cell after cell."""
    file = stage.kit.work / "cifar10_tail.npz"
    if not file.exists():
        stage.saved["steps"].pop("images", None)
    if stage.step("images", lambda: _unpacked(stage, file)) is None:
        return
    epochs = 2 if stage.kit.small else 6
    speeds = {
        precision: stage.step(
            f"speed, {precision}",
            functools.partial(
                _train, stage, file, f"speed_{precision}", "softmax", 0, epochs, precision
            ),
        )
        for precision in ("mixed_bfloat16", "float32")
    }
    least = _least(speeds["mixed_bfloat16"], stage.kit.small)
    for loss, power in _CELLS[:1] if stage.kit.small else _CELLS:
        name = f"{loss}_{power}"
        cell = functools.partial(_cell, stage, file, name, loss, power)
        found = stage.step(name, cell, least=least)
        if found:
            least = 1.1 * found["wall_seconds"]


def _least(speed, small):
    """Seconds that a cell needs, from a short run's images a second and the time around it."""
    if small or not speed:
        return 30.0
    per_epoch = speed["train_images"] / speed["metrics"]["images_per_second"]
    return 1.1 * (_EPOCHS * per_epoch + speed["wall_seconds"] - speed["metrics"]["train_seconds"])


def _unpacked(stage, file):
    if stage.kit.data is None:
        raise StepFailed("there are no images: pack writes them, --data names their folder")
    stage.run("python", "-m", "benchmarks.gpu.images", stage.kit.data, file, *_limit(stage))
    return {"bytes": file.stat().st_size}


def _limit(stage):
    return ["--most=256"] if stage.kit.small else []


def _cell(stage, file, name, loss, power):
    epochs = 2 if stage.kit.small else _EPOCHS
    return _train(stage, file, name, loss, power, epochs, "mixed_bfloat16")


def _train(stage, file, name, loss, power, epochs, precision):
    """One run of experiments.train: its metrics, its history and how long it took in all."""
    folder = stage.kit.work / "runs" / name
    short = ["--warmup_epochs=0"] if epochs < 10 else []
    if stage.kit.small:
        short += ["--depth=8"]
    before = stage.left
    stage.run(
        *("python", "-m", "experiments.train", "--flagfile=experiments/presets/park2022.flags"),
        *(f"--dataset=npz:{file}", "--augmentation=crop_flip", "--plots=false", "--resume"),
        *(f"--loss={loss}", f"--cb_power={power}", f"--train_epochs={epochs}"),
        *(f"--precision={precision}", f"--output_dir={folder}", *short),
        KERAS_BACKEND="jax",
    )
    return {
        "epochs": epochs,
        "precision": precision,
        "train_images": images.count(file),
        "wall_seconds": round(before - stage.left, 2),
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "history": (folder / "history.csv").read_text(),
    }
