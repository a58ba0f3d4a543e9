"""Stages: ResNet-32 on JAX. Images per second, then runs as far as the time goes.

The images are CIFAR-10's, its long tail of factor 0.02 and seed 0 or all of them, and its test set.
A line of a file of runs is

    NAME: FLAGS

with flags of experiments.train on top of the protocol's. `--dataset=all` means all images, which a
tail can be cut from; `@NAME` in a flag is the directory of that run, which has to stand above.

What has begun and not ended is saved beside the figures, with its checkpoints, and goes on in the
next call, on this machine or another.
"""

import contextlib
import functools
import json
import re
import subprocess
import tempfile
import threading

from benchmarks.gpu import images, stages, unfinished
from benchmarks.gpu.stages import StepFailed

_ALL = "--dataset=all"


def speed(stage):
    """Images per second of a training that has the GPU for itself, in two precisions."""
    file = _images(stage, "tail")
    if file is None:
        return
    epochs = 2 if stage.kit.small else 10
    for precision in ("mixed_bfloat16", "float32"):
        flags = (f"--precision={precision}", f"--train_epochs={epochs}", "--warmup_epochs=0")
        train = functools.partial(_train, stage, f"speed_{precision}", flags)
        stage.step(precision, train, least=30.0)


def run(stage):
    """Trains run after run, some at once."""
    runs = read("\n".join(file.read_text() for file in stage.kit.runs))
    for name in {"all" if _ALL in flags else "tail" for flags in runs.values()}:
        if _images(stage, name) is None:
            return
    ended = {name: threading.Event() for name in runs}
    for name in runs:
        if (stage.saved["steps"].get(name) or {}).get("ok"):  # of an earlier call
            ended[name].set()
    kept = stage.kit.output / unfinished.FILE
    unfinished.take(kept, stage.kit.work / "runs")
    with _shared_gpu(stage) if stage.kit.mps else contextlib.nullcontext({}) as shared:
        works = {
            name: functools.partial(
                # The first one has the most to do: the others fill what it leaves of the GPU.
                *(_after, stage, name, runs, ended),
                {**shared, "CUDA_MPS_CLIENT_PRIORITY": "1" if i else "0"},
            )
            for i, name in enumerate(runs)
        }
        stage.together(works, at_once=stage.kit.at_once, least=20.0)
    left = [name for name in runs if not stage.saved["steps"][name]["ok"]]
    unfinished.save({name: stage.kit.work / "runs" / name for name in left}, kept)


@contextlib.contextmanager
def _shared_gpu(stage):
    """Variables of programs whose kernels may run at once; CUDA's MPS is ended afterwards."""
    # The path of a socket has to be short.
    with tempfile.TemporaryDirectory(prefix="mps.", ignore_cleanup_errors=True) as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        control = functools.partial(
            subprocess.run,
            env={**stage.kit.environment, **own},
            text=True,
            stdout=subprocess.DEVNULL,
            timeout=20,
        )
        try:
            control(["nvidia-cuda-mps-control", "-d"], stdin=subprocess.DEVNULL, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{stage.name}: no MPS, the trainings take turns: {error}", flush=True)
            yield {}
            return
        try:
            yield own
        finally:
            control(["nvidia-cuda-mps-control"], input="quit -t 5\n", check=False)


def read(text):
    """Name to flags, a dict of tuples, of the text of a file of runs.

    Raises:
        ValueError: A line is not of that form, or names a run that does not stand above it.
    """
    found = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        name, colon, flags = line.partition(":")
        flags = tuple(flags.split())
        if (
            not colon
            or not re.fullmatch(r"[\w.+-]+", name)
            or found.get(name, flags) != flags  # the same run may stand in two files
        ):
            raise ValueError(f"a line must be NAME: FLAGS, a name for each run, got {line!r}.")
        for other in _needed(flags):
            if other not in found:
                raise ValueError(f"{name} needs @{other}, which does not stand above it.")
        found[name] = flags
    return found


def _needed(flags):
    return [name for flag in flags for name in re.findall(r"=@(.+)$", flag)]


def _after(stage, name, runs, ended, variables):
    """Trains a run once those that it needs have ended, well or not."""
    try:
        for other in _needed(runs[name]):
            if not ended[other].wait(stage.left):  # one that was not begun never ends
                raise StepFailed(f"{other}, which it begins with, has not ended")
        return _train(stage, name, runs[name], **variables)
    finally:
        ended[name].set()


def _images(stage, name):
    """The archive of the images; None where there are none."""
    file = _archive(stage, name)
    if file.exists():  # of another stage, or of an earlier call
        return file
    stage.saved["steps"].pop(f"images of {name}", None)
    done = stage.step(f"images of {name}", lambda: _unpacked(stage, file, name == "all"))
    return file if done else None


def _archive(stage, name):
    return stage.kit.work / f"cifar10_{name}.npz"


def _unpacked(stage, file, rest):
    kit = stage.kit
    if kit.data is None or (rest and kit.rest is None):
        raise StepFailed("there are no images: pack writes them, --data and --rest name theirs")
    own = [f"--rest={kit.rest}"] if rest else ["--most=256"] if kit.small else []
    stage.run("python", "-m", "benchmarks.gpu.images", kit.data, file, *own)
    return {"bytes": file.stat().st_size}


def _folder(stage, name):
    return stages.below_root(stage.kit.work / "runs" / name)


def _train(stage, name, flags, **variables):
    """One run of experiments.train: its metrics, its history and how long it took in all."""
    own = [re.sub("@(.+)$", lambda m: str(_folder(stage, m[1])), flag) for flag in flags]
    file = _archive(stage, "all" if _ALL in flags else "tail")
    own = [flag for flag in own if flag != _ALL]
    if stage.kit.small:
        own += ["--depth=8", "--train_epochs=2", "--warmup_epochs=0"]
    before, folder = stage.left, _folder(stage, name)
    said = stage.run(
        *("python", "-m", "experiments.train", "--flagfile=experiments/presets/park2022.flags"),
        *("--precision=mixed_bfloat16", *own),
        *(f"--dataset=npz:{stages.below_root(file)}", "--augmentation=crop_flip"),
        *("--plots=false", "--resume", f"--output_dir={folder}", *stage.kit.train_flags),
        KERAS_BACKEND="jax",
        **variables,
    )
    folder = stages.ROOT / folder
    return {
        "flags": list(flags),
        "train_images": images.count(file),
        "wall_seconds": round(before - stage.left, 2),
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "config": json.loads((folder / "config.json").read_text()),
        "history": (folder / "history.csv").read_text(),
        "said": said[-1500:],
    }
