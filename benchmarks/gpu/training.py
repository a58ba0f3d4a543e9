"""Stages: ResNet-32 on JAX. Images per second, then runs of 200 epochs as far as the time goes.

The images are CIFAR-10's long tail of factor 0.02 and seed 0, and its test set.
"""

import functools
import json
import os

from benchmarks.gpu import images, stages
from benchmarks.gpu.stages import StepFailed

# Name -> flags. Cells of table 2 in the order of their worth, every loss plain and class-balanced
# first; then methods of the table of methods.
_RUNS = {
    f"{loss}_power{power}": ("--method=class_balanced", f"--loss={loss}", f"--cb_power={power}")
    for power in (0, 1, 0.5, 2)
    for loss in ("softmax", "focal", "sigmoid")
} | {
    method: (f"--method={method}",)
    for method in ("logit_adjusted", "vs", "ldam_drw", "vs_drw", "cb_drw", "ldam")
}
_EPOCHS = 200
# XLA captures a step in one CUDA graph only where convolutions may be in it, which not all can.
_CAPTURE = "--xla_gpu_enable_command_buffer=+CONVOLUTION"
_cannot_capture = []  # names of the runs that failed with it


def speed(stage):
    """Images per second of a training that has the GPU for itself, in two precisions."""
    file = _images(stage)
    if file is None:
        return
    epochs = 2 if stage.kit.small else 10
    for precision in ("mixed_bfloat16", "float32"):
        train = functools.partial(
            _train, stage, file, f"speed_{precision}", epochs, (f"--precision={precision}",)
        )
        stage.step(precision, train, least=30.0)


def run(stage):
    """Trains run after run, some at once."""
    file = _images(stage)
    if file is None:
        return
    small = stage.kit.small
    cells = {
        name: functools.partial(_train, stage, file, name, 2 if small else _EPOCHS, flags)
        for name, flags in list(_RUNS.items())[: 2 if small else None]
    }
    stage.together(cells, at_once=stage.kit.at_once, least=30.0 if small else 60.0)


def _images(stage):
    """The archive of the images; None where there are none."""
    file = stage.kit.work / "cifar10_tail.npz"
    if not file.exists():
        stage.saved["steps"].pop("images", None)
    return file if stage.step("images", lambda: _unpacked(stage, file)) else None


def _unpacked(stage, file):
    if stage.kit.data is None:
        raise StepFailed("there are no images: pack writes them, --data names their folder")
    stage.run("python", "-m", "benchmarks.gpu.images", stage.kit.data, file, *_limit(stage))
    return {"bytes": file.stat().st_size}


def _limit(stage):
    return ["--most=256"] if stage.kit.small else []


def _train(stage, file, name, epochs, flags):
    """One run of experiments.train: its metrics, its history and how long it took in all."""
    folder = stage.kit.work / "runs" / name
    short = ["--warmup_epochs=0"] if epochs < 10 else []
    if stage.kit.small:
        short += ["--depth=8"]
    before = stage.left
    command = (
        *("python", "-m", "experiments.train", "--flagfile=experiments/presets/park2022.flags"),
        *(f"--dataset=npz:{stages.below_root(file)}", "--augmentation=crop_flip"),
        *("--plots=false", "--resume", "--precision=mixed_bfloat16", f"--train_epochs={epochs}"),
        *(f"--output_dir={stages.below_root(folder)}", *flags, *short, *stage.kit.train_flags),
    )
    captured = stage.kit.gpu and not _cannot_capture
    try:
        said = stage.run(*command, KERAS_BACKEND="jax", **_flags_of_xla(captured))
    except StepFailed as error:
        if not captured or stage.left < 30.0:
            raise
        print(f"{name}: once more without CUDA graphs, after: {str(error)[-1000:]}", flush=True)
        _cannot_capture.append(name)
        captured = False
        said = stage.run(*command, KERAS_BACKEND="jax")
    return {
        "epochs": epochs,
        "flags": list(flags),
        "captured": captured,
        "train_images": images.count(file),
        "wall_seconds": round(before - stage.left, 2),
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "config": json.loads((folder / "config.json").read_text()),
        "history": (folder / "history.csv").read_text(),
        "said": said[-1500:],
    }


def _flags_of_xla(captured):
    """Variables of the environment of a training."""
    if not captured:
        return {}
    return {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {_CAPTURE}".strip()}
