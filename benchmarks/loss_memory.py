"""How much memory does one contender of benchmarks.loss_op need at its peak?

`peak_memory` runs this module in a process of its own, which prints one line of JSON:
`input_bytes`, the logits; `peak_bytes`, what loss and gradient need next to them at the peak of one
call; `units`, the two together in units of logits + gradient, so that 1 is the least possible.
"""

import gc
import json
import os
import pathlib
import re
import subprocess
import sys

import tensorflow as tf

from benchmarks import loss_contenders, loss_problem

# So that a block that is freed goes back to the system at once: what is resident is then what is in
# use. With oneDNN TensorFlow keeps freed blocks, and so does the C library below this threshold.
_NO_POOLS = {"TF_ENABLE_ONEDNN_OPTS": "0", "MALLOC_MMAP_THRESHOLD_": "65536"}


def peak_memory(name, loss, size):
    """Measures it in a process of its own; its figures, or `{"why_not": ...}`."""
    command = [sys.executable, "-m", "benchmarks.loss_memory", name, loss, "x".join(map(str, size))]
    done = subprocess.run(
        command, env={**os.environ, **_NO_POOLS}, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        return {"why_not": f"exit status {done.returncode}"}
    return json.loads(done.stdout.splitlines()[-1])


def measure(problem, name):
    step = loss_contenders.CONTENDERS[name](problem)
    for _ in range(2):
        step()  # traces and compiles; starts the threads
    gc.collect()
    peak = _gpu_peak(step) if loss_contenders.has_gpu() else _cpu_peak(step)
    logits = problem.logits.nbytes
    return {
        "input_bytes": logits,
        "peak_bytes": peak,
        "units": (logits + peak) / (2 * logits),
    }


def _cpu_peak(step):
    """Peak of the resident memory during a call, less what was resident before."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status_bytes("VmRSS")
    result = step()
    peak = _status_bytes("VmHWM")
    del result
    return peak - before


def _status_bytes(key):
    text = pathlib.Path("/proc/self/status").read_text()
    return 1024 * int(re.search(rf"^{key}:\s*(\d+) kB$", text, re.MULTILINE)[1])


def _gpu_peak(step):
    tf.config.experimental.reset_memory_stats("GPU:0")
    before = tf.config.experimental.get_memory_info("GPU:0")["current"]
    result = step()
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    del result
    return peak - before


def main(arguments):
    name, loss, size = arguments
    problem = loss_problem.Problem.random(loss, tuple(map(int, size.split("x"))))
    print(json.dumps(measure(problem, name)))


if __name__ == "__main__":
    main(sys.argv[1:])
