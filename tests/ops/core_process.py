"""Run by test_core.py in a process of its own: the core library by ctypes alone, without Keras.

python core_process.py LIBRARY fork|threads|interpreters
"""

import array
import ctypes
import math
import os
import signal
import sys
import threading

POINTER = ctypes.c_void_p


class Problem(ctypes.Structure):
    """CbkProblem of ops/class_balanced_loss.h."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("loss", "float_type", "labels_type")),
        *((name, ctypes.c_int64) for name in ("rows", "classes")),
        *((name, POINTER) for name in ("logits", "labels", "class_weights")),
        *((name, ctypes.c_float) for name in ("gamma", "label_smoothing")),
        *(("ignores", ctypes.c_int), ("ignore_class", ctypes.c_int64), ("upstream", POINTER)),
        *(("upstream_is_scalar", ctypes.c_int), ("losses", POINTER), ("gradient", POINTER)),
        *((name, POINTER) for name in ("factor", "offset", "margin")),
    )


def load(path):
    library = ctypes.CDLL(path)
    library.CbkCpuLoss.restype = ctypes.c_int64
    library.CbkCpuLoss.argtypes = [POINTER] * 3
    return library


def softmax_is_right(library, rows=600, classes=65):
    """Whether the weighted softmax losses of large enough a problem for several threads are right.

    Row i has the label i % classes, a logit of 2 there, and 0 elsewhere.
    """
    logits, weights = array.array("f", bytes(4 * rows * classes)), array.array("f")
    labels = array.array("q", (i % classes for i in range(rows)))
    weights.extend(1 + c for c in range(classes))
    for i, label in enumerate(labels):
        logits[i * classes + label] = 2.0
    losses, gradient = array.array("f", bytes(4 * rows)), array.array("f", bytes(len(logits) * 4))
    pointers = [a.buffer_info()[0] for a in (logits, labels, weights)]
    problem = Problem(0, 0, 1, rows, classes, *pointers)
    problem.losses, problem.gradient = losses.buffer_info()[0], gradient.buffer_info()[0]
    if library.CbkCpuLoss(ctypes.byref(problem), None, None) != -1:
        return False
    total = math.exp(2) + classes - 1
    right = math.log(total) - 2
    return all(
        abs(losses[i] - weights[c] * right) <= 1e-5 * weights[c] * right
        and abs(gradient[i * classes + c] + weights[c] * (classes - 1) / total) <= 1e-5 * weights[c]
        for i, c in enumerate(labels)
    )


def fork(library):
    """Children compute, by threads of their own, while other threads of the parent compute too."""
    stop, right = threading.Event(), []

    def work():
        while not stop.is_set():
            right.append(softmax_is_right(library))

    workers = [threading.Thread(target=work) for _ in range(2)]
    [worker.start() for worker in workers]
    codes = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            signal.alarm(100)  # a child that waits for threads that it does not have is killed
            good = softmax_is_right(library) and len(os.listdir("/proc/self/task")) > 1
            os._exit(0 if good else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    [worker.join() for worker in workers]
    return [codes, bool(right) and all(right), softmax_is_right(library)]


def threads(library):
    """Eight threads that use the library at once."""
    right = []
    workers = [
        threading.Thread(target=lambda: right.extend(softmax_is_right(library) for _ in range(4)))
        for _ in range(8)
    ]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]
    return [len(right), all(right)]


def interpreters(library):
    """What two sub-interpreters find, one after the other, and then the first interpreter."""
    try:
        import _interpreters as module  # Python 3.13
    except ImportError:
        import _xxsubinterpreters as module
    script = f"""
import os, sys
try:
    sys.path.insert(0, {os.path.dirname(os.path.abspath(__file__))!r})
    import core_process
    said = str(core_process.softmax_is_right(core_process.load({sys.argv[1]!r})))
except ImportError as error:
    said = str(error)
with open({{!r}}, "w") as file:
    file.write(said)
"""
    found = []
    for name in ("first", "second"):
        interpreter = module.create()
        path = os.path.abspath(f"{name}.txt")
        module.run_string(interpreter, script.format(path))
        with open(path) as file:
            found.append(file.read())
    return [found, softmax_is_right(library)]


if __name__ == "__main__":
    stage = {"fork": fork, "threads": threads, "interpreters": interpreters}[sys.argv[2]]
    print(stage(load(sys.argv[1])))
