"""Checks and measures everything that needs a GPU, within minutes; saves as it goes.

python -m benchmarks.gpu pack --output_dir=DIR [--data_dir=DIR] [--python=3.12] [--built=90]
python -m benchmarks.gpu --packed=DIR --output_dir=DIR [--seconds=540]
python -m benchmarks.gpu --device=cpu --small ...      a rehearsal without a GPU

`pack` writes a folder of 60 MiB at most, which is all that the machine needs next to nvcc, NumPy,
Pillow, PyTorch and JAX. There, each stage writes one JSON file; a second call with the same
--output_dir does only what the first has not, and goes on with the trainings that it had begun, on
another machine too. TensorFlow is not needed.
"""

import argparse
import json
import os
import pathlib
import re
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
    parser.add_argument(
        "--built", help="Of pack: architecture of the GPU, such as 90, to build for here, by nvcc."
    )
    parser.add_argument("--work_dir", type=pathlib.Path, default=stages.ROOT / "build" / "gpu")
    parser.add_argument("--packed", type=pathlib.Path, help="The folder that pack wrote.")
    parser.add_argument("--rest", type=pathlib.Path, help="Folder of the rest of the images.")
    parser.add_argument(
        "--runs",
        default="table2",
        help="Trainings, begun in this order: names of benchmarks/gpu/NAME.runs, or files; a line "
        "a run, NAME: FLAGS.",
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
    parser.add_argument(
        "--mps", action="store_true", help="Trainings share the GPU by CUDA's MPS, not in turns."
    )
    arguments = parser.parse_args()
    unknown = set(arguments.stages.split(",")) - set(STAGES)
    if unknown:
        parser.error(f"--stages must be of {', '.join(STAGES)}, got {', '.join(sorted(unknown))}")
    arguments.runs = tuple(_file_of_runs(name) for name in arguments.runs.split(","))
    if missing := [str(file) for file in arguments.runs if not file.is_file()]:
        parser.error(f"--runs: there is no {', '.join(missing)}")
    return arguments


def _file_of_runs(name):
    """Of `table2` the file here, of a path itself."""
    plain = re.fullmatch(r"\w+", name)
    return (
        stages.ROOT / "benchmarks" / "gpu" / f"{name}.runs"
        if plain
        else pathlib.Path(name).absolute()
    )


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
            arguments.output_dir,
            arguments.data_dir,
            arguments.python,
            rest=arguments.with_rest,
            architecture=arguments.built,
        )
        return
    start = time.monotonic()
    for folder in (arguments.output_dir, arguments.work_dir):
        folder.mkdir(parents=True, exist_ok=True)
    arguments.output_dir, arguments.work_dir = (
        folder.absolute() for folder in (arguments.output_dir, arguments.work_dir)
    )
    site = arguments.work_dir / "site"
    packed = arguments.packed and arguments.packed.absolute()
    wheels = packed and packed / "wheels"
    installed = packing.install_missing(wheels, site) if packed and wheels.is_dir() else []
    print(f"installed: {', '.join(installed) or 'nothing'}", flush=True)
    if packed and arguments.device == "gpu":
        packing.take_built(packed / "built", arguments.work_dir)
    kit = stages.Kit(
        output=arguments.output_dir,
        work=arguments.work_dir,
        device=arguments.device,
        small=arguments.small,
        data=packed and packed / "data",
        rest=arguments.rest and arguments.rest.absolute(),
        runs=arguments.runs,
        deadline=start + arguments.seconds,
        environment=environment(arguments, site),
        train_flags=tuple(arguments.train_flags.split()),
        at_once=1 if arguments.device == "cpu" else arguments.at_once,
        mps=arguments.mps and arguments.device == "gpu",
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
