"""What travels to a machine with a GPU: sources, wheels, images, and what is built for it."""

import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

from benchmarks.gpu.stages import ROOT

MOST_BYTES = 60 * 2**20
CHECK = "cuda_check"  # the kernels' check
DIGEST = "cuda_check.digest"  # of the sources that it is built of
_COMPILED = {".cc", ".cu", ".cuh", ".h", ".py"}
_SOURCES = ("benchmarks", "cb_keras", "experiments", "ops", "pyproject.toml", "setup.py", "LICENSE")
# Keras and what it and the programs import; NumPy, Pillow, JAX and PyTorch are expected there.
_WHEELS = (
    *("keras<3.16", "namex", "optree", "absl-py", "rich", "markdown-it-py", "mdurl", "pygments"),
    *("h5py", "ml_dtypes", "packaging"),
)
_PLATFORMS = ("2_28", "2_27", "2_17")


def pack(output, data_dir, python, rest=False, architecture=None):
    """Writes the folder that travels, and how large it is.

    Args:
        output: A folder that is not there yet, or empty.
        data_dir: Folder of tensorflow-datasets with CIFAR-10; None for its own.
        python: Version of Python there, e.g. "3.12".
        rest: Whether to write the images that the long tail leaves out, too: a folder of its own
            beside this one, of 55 MiB, for a second journey.
        architecture: Of the GPU, such as "90", to build the core library and the check of the
            kernels for; None to leave both to the machine there.
    """
    if output.exists() and any(output.iterdir()):
        sys.exit(f"--output_dir={output} is not empty; give a new folder.")
    tree = output / "tree"
    for name in _files():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tree / name)
    _download(output / "wheels", python)
    if architecture:
        _build(output / "built", architecture)
    from benchmarks.gpu import images  # which needs more than this module

    images.pack(images.of_cifar10(data_dir), output / "data")
    if rest:
        images.pack(images.rest_of_cifar10(data_dir), output.with_name(f"{output.name}_rest"))
    size = sum(file.stat().st_size for file in output.rglob("*") if file.is_file())
    print(f"{output}: {size / 2**20:.1f} MiB; there, in {output.name}/tree:")
    print("  python3 -m benchmarks.gpu --packed=.. --output_dir=DIR")
    if size > MOST_BYTES:
        sys.exit(f"that is more than {MOST_BYTES / 2**20:.0f} MiB")


def _files():
    """The sources, by git: nothing that was built, nothing that is ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *_SOURCES]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).is_file()]


def _download(folder, python):
    platforms = [f"--platform=manylinux_{version}_x86_64" for version in _PLATFORMS]
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--implementation=cp", f"--python-version={python}"),
            *(*platforms, "--platform=manylinux2014_x86_64", f"--dest={folder}", *_WHEELS),
        ],
        check=True,
    )


def _build(folder, architecture):
    """The check of the kernels, and the core library, for one architecture; needs nvcc here."""
    folder.mkdir()
    core = (
        "from cb_keras.fused import cache; from cb_keras.fused.sources import builder; "
        "ops = builder(); cache.build(ops, ops.Core.find())"
    )
    own = {
        "CB_KERAS_CACHE": str(folder.absolute()),
        "CB_KERAS_CUDA": "1",
        "CB_KERAS_CUDA_TARGETS": architecture,
    }
    for what in (("-c", core), ("-m", "ops.check.build", "cuda", str(folder.absolute() / CHECK))):
        subprocess.run([sys.executable, *what], cwd=ROOT, check=True, env={**os.environ, **own})
    (folder / DIGEST).write_text(digest())
    for lock in folder.glob("*.lock"):
        lock.unlink()


def digest():
    """Of the sources of the op and of its checks."""
    files = [file for file in sorted((ROOT / "ops").rglob("*")) if file.suffix in _COMPILED]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def take_built(folder, work):
    """Puts what was packed as built where it is looked for; without one nothing happens.

    A library says itself which sources it is of, a check does not: its digest comes with it.
    """
    cache = work / "cache"
    cache.mkdir(mode=0o755, parents=True, exist_ok=True)
    for file in folder.glob("*.so"):
        shutil.copyfile(file, cache / file.name)
    if (folder / CHECK).exists():
        shutil.copyfile(folder / CHECK, work / CHECK)
        (work / CHECK).chmod(0o755)
        shutil.copyfile(folder / DIGEST, work / DIGEST)


def install_missing(wheels, site):
    """Installs those packages of a folder of wheels that this Python lacks, into `site`."""
    find, lacking = importlib.metadata.distributions, []
    for wheel in sorted(pathlib.Path(wheels).glob("*.whl")):
        name = wheel.name.partition("-")[0]
        if not (any(find(name=name)) or any(find(name=name, path=[str(site)]))):
            lacking.append(str(wheel))
    if lacking:
        options = ["--quiet", "--no-index", "--no-deps", "--no-compile", f"--target={site}"]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, *lacking], check=True)
    return [pathlib.Path(wheel).name for wheel in lacking]
