"""Checks and measures everything that needs a GPU, within minutes; saves as it goes.

python -m benchmarks.gpu pack --output_dir=DIR [--data_dir=DIR] [--python=3.12]
python -m benchmarks.gpu [--wheels=DIR] [--data=DIR] --output_dir=DIR [--seconds=540]
python -m benchmarks.gpu --device=cpu --small ...      a rehearsal without a GPU

`pack` writes a folder of 60 MiB at most, which is all that the machine needs next to nvcc, NumPy,
Pillow, PyTorch and JAX. There, each stage writes one JSON file; a second call with the same
--output_dir does only what the first has not. TensorFlow is not needed.
"""

import argparse
import json
import os
import pathlib
import subprocess
import time

from benchmarks.gpu import check, kernels, packing, stages, steps, training

# Name -> what to run, and the seconds it may take; the last one has what is left.
STAGES = {
    "check": (check.run, 150.0),
    "kernels": (kernels.run, 150.0),
    "steps": (steps.run, 60.0),
    "speed": (training.speed, 120.0),
    "training": (training.run, float("inf")),
}
_PATIENCE = 6.0  # of a rehearsal, which compiles on a few cores


def parsed():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=["pack"], help="Write the folder that travels.")
    parser.add_argument("--output_dir", type=pathlib.Path, required=True)
    parser.add_argument("--data_dir", help="Of pack: tensorflow-datasets with CIFAR-10.")
    parser.add_argument("--python", default="3.12", help="Of pack: version of Python there.")
    parser.add_argument(
        "--with_rest", action="store_true", help="Of pack: the rest of the images, DIR_rest."
    )
    parser.add_argument("--work_dir", type=pathlib.Path, default=stages.ROOT / "build" / "gpu")
    parser.add_argument("--wheels", type=pathlib.Path, help="Folder of the packed wheels.")
    parser.add_argument("--data", type=pathlib.Path, help="Folder of the packed images.")
    parser.add_argument("--rest", type=pathlib.Path, help="Folder of the rest of the images.")
    parser.add_argument(
        "--runs",
        type=pathlib.Path,
        default=stages.ROOT / "benchmarks" / "gpu" / "table2.runs",
        help="File of the trainings: a line a run, NAME: FLAGS.",
    )
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--small", action="store_true", help="Everything tiny: a rehearsal.")
    parser.add_argument("--seconds", type=float, default=540.0, help="For everything.")
    parser.add_argument(
        "--stages", default=",".join(STAGES), help=f"Of {', '.join(STAGES)}; the order is theirs."
    )
    parser.add_argument(
        "--train_flags", default="", help="More flags of every training, with spaces between."
    )
    parser.add_argument("--at_once", type=int, default=4, help="Trainings side by side.")
    arguments = parser.parse_args()
    unknown = set(arguments.stages.split(",")) - set(STAGES)
    if unknown:
        parser.error(f"--stages must be of {', '.join(STAGES)}, got {', '.join(sorted(unknown))}")
    return arguments


def environment(arguments, site):
    """Of the commands: where packages are, what is built for, and no memory taken beforehand."""
    paths = [str(stages.ROOT), str(site)]
    own = {
        "PYTHONPATH": os.pathsep.join(paths),
        "CB_KERAS_CACHE": str(arguments.work_dir / "cache"),
        "CB_KERAS_CUDA": "1" if arguments.device == "gpu" else "0",
        "KERAS_BACKEND": "jax",  # where a command names no other
        "KERAS_HOME": str(arguments.work_dir / "keras"),
        "JAX_COMPILATION_CACHE_DIR": str(arguments.work_dir / "jax"),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    if arguments.device == "gpu":
        own["CB_KERAS_CUDA_TARGETS"] = _architecture()
    else:
        own |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    return {**os.environ, **own}


def _architecture():
    """Number of the GPU's architecture, e.g. "90"."""
    command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise SystemExit(
            f"there is no GPU here ({error}); rehearse with --device=cpu --small"
        ) from error
    return said.split()[0].replace(".", "")


def main():
    arguments = parsed()
    if arguments.what == "pack":
        packing.pack(
            arguments.output_dir, arguments.data_dir, arguments.python, rest=arguments.with_rest
        )
        return
    start = time.monotonic()
    for folder in (arguments.output_dir, arguments.work_dir):
        folder.mkdir(parents=True, exist_ok=True)
    arguments.output_dir, arguments.work_dir = (
        folder.absolute() for folder in (arguments.output_dir, arguments.work_dir)
    )
    site = arguments.work_dir / "site"
    installed = packing.install_missing(arguments.wheels, site) if arguments.wheels else []
    print(f"installed: {', '.join(installed) or 'nothing'}", flush=True)
    kit = stages.Kit(
        output=arguments.output_dir,
        work=arguments.work_dir,
        device=arguments.device,
        small=arguments.small,
        data=arguments.data and arguments.data.absolute(),
        rest=arguments.rest and arguments.rest.absolute(),
        runs=arguments.runs.absolute(),
        deadline=start + arguments.seconds,
        environment=environment(arguments, site),
        train_flags=tuple(arguments.train_flags.split()),
        at_once=1 if arguments.device == "cpu" else arguments.at_once,
    )
    for name in (name for name in STAGES if name in arguments.stages.split(",")):
        run, seconds = STAGES[name]
        stage = stages.Stage(kit, name, seconds if kit.gpu else _PATIENCE * seconds)
        if not stage.finished or name == "training":  # whose file of runs may have grown
            run(stage)
            stage.finish()
        print(_summary(stage), flush=True)


def _summary(stage):
    """What of a stage is done, in a few lines."""
    lines = [f"{stage.name}: {'finished' if stage.finished else 'not finished'}"]
    for name, step in stage.saved["steps"].items():
        about = "" if step["ok"] else f"  {step['why'].splitlines()[0][:120]}"
        figures = step.get("figures") or {}
        if "metrics" in figures:
            keep = ("accuracy", "images_per_second", "train_seconds")
            about = f"  {json.dumps({key: figures['metrics'].get(key) for key in keep})}"
        lines.append(
            f"  {'ok' if step['ok'] else 'NO':<3} {step['seconds']:>7.1f} s  {name}{about}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
