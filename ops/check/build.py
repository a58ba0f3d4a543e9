"""Builds the stand-alone checks of the kernels, from the root of a clone.

python -m ops.check.build cpu SANITIZERS OUTPUT     the CPU kernels: address,undefined or thread
python -m ops.check.build cuda OUTPUT               the CUDA kernels, by nvcc (NVCC chooses it)
python -m ops.check.build emulation OUTPUT          the CUDA kernels as C++, on an emulated GPU

What each of them checks is said at the top of cpu_check.cc and cuda_check.cu.
"""

import os
import pathlib
import sys
import tempfile

from ..compilers import (
    BuildError,
    common_flags,
    cpu_jobs,
    cxx_version,
    existing_cxx,
    find_nvcc,
    gpu_targets,
    run,
    run_all,
    sanitizer_flags,
)

_OPS = pathlib.Path(__file__).parent.parent
_CPU_CHECK = "check/cpu_check.cc"
_CUDA_SOURCES = (_OPS / "check" / "cuda_check.cu", _OPS / "cuda" / "class_balanced_loss.cu")


def build_cpu(sanitizers, output):
    """Compiles the check of the CPU kernels, under sanitizers as `-fsanitize` takes them.

    Raises:
        BuildError: There is no compiler, or it failed.
    """
    cxx = existing_cxx()
    common = common_flags(cxx, cxx_version(cxx))
    flags = sanitizer_flags(sanitizers)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".building.") as folder:
        jobs = [*cpu_jobs(), (_CPU_CHECK, "check", [])]
        objects = [pathlib.Path(folder, f"{name}.o") for _, name, _ in jobs]
        run_all(
            [*common, *own, *flags, "-c", str(_OPS / source), "-o", str(target)]
            for (source, _, own), target in zip(jobs, objects, strict=True)
        )
        run([cxx, *flags, "-pthread", *objects, "-o", output])


def build_cuda(output):
    """Compiles the check of the CUDA kernels for every GPU that the library is built for.

    Raises:
        BuildError: There is no nvcc, or it failed.
    """
    nvcc = os.environ.get("NVCC") or find_nvcc()
    if nvcc is None:
        raise BuildError(
            "there is no nvcc, or CB_KERAS_CUDA=0 leaves it out; put it on PATH or set NVCC or "
            "CUDA_HOME. `make cuda-emulation` checks the same kernels without it"
        )
    run([nvcc, "-std=c++17", "-O2", *gpu_targets(), *_CUDA_SOURCES, "-o", output])


def build_emulation(output):
    """Compiles the check of the CUDA kernels with the emulation of a GPU, under sanitizers.

    Raises:
        BuildError: There is no compiler, or it failed.
    """
    warnings = ("-Wall", "-Wextra", "-Wno-unknown-pragmas")
    sanitize = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    flags = ("-x", "c++", "-std=c++17", "-O1", "-g", "-DCBK_EMULATE", *warnings, "-pthread")
    run([existing_cxx(), *flags, *sanitize, *_CUDA_SOURCES, "-o", output])


def main(arguments):
    """Builds what the command line names; the exit status is 0, 1 after an error, else 2."""
    checks = {"cpu": (build_cpu, 2), "cuda": (build_cuda, 1), "emulation": (build_emulation, 1)}
    check, number = checks.get(arguments[0] if arguments else "", (None, 0))
    if check is None or len(arguments) != 1 + number:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    output = pathlib.Path(arguments[-1]).absolute()
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        check(*arguments[1:-1], output)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
