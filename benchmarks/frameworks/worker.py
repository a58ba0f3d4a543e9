"""One framework's process in benchmarks.frameworks: answers lines of JSON with lines of JSON.

python -m benchmarks.frameworks.worker tensorflow|torch|jax gpu|cpu
"""

import importlib
import importlib.metadata
import json
import os
import sys
import time

import numpy as np

from benchmarks import timing
from benchmarks.frameworks.contenders import COMPOSED, KERAS, MODES, NEW_COPY, OURS, WARM_COPY
from benchmarks.loss_problem import (
    TOLERANCE,
    Problem,
    Unavailable,
    WrongAnswer,
    cores,
    numpy_of,
    threaded_copy,
)

# Of 16-bit logits. Compositions compute in their type, ours in float32.
_TOLERANCE_16 = 0.05
_ROWS = 64  # whose gradients are compared
_MOST_CALLS = 500  # of a GPU between two waits


class Worker:
    """What is measured in this process.

    Args:
        framework: Name of the framework, the backend of Keras too.
    """

    def __init__(self, framework):
        self.framework = framework
        self.module = importlib.import_module(f"benchmarks.frameworks.of_{framework}")
        self.module.start(cores())
        self.problem, self.arrays, self.steps = None, None, {}

    def about(self):
        """Versions, device, and which kernels the op has."""
        from cb_keras import fused

        names = [self.framework, "keras"] + ["jaxlib"] * (self.framework == "jax")
        return {
            "versions": {name: importlib.metadata.version(name) for name in names},
            "device": "GPU" if self.module.has_gpu() else "CPU",
            "fused_op": fused.status().rpartition("(")[2].rstrip(")"),  # without a path
        }

    def mean_loss(self, loss, size, dtype):
        """The right answer of a case, which one process finds for all."""
        return {"mean_loss": Problem.random(loss, size, dtype=dtype).mean_loss()}

    def prepare(self, loss, size, dtype, mean_loss, contenders, modes):
        """Makes and checks the steps.

        Returns:
            Dict of `steps`, lists of mode and contender, and `missing`, those and why.
        """
        self.steps.clear()
        self.problem = Problem.random(loss, size, dtype=dtype)
        self.arrays = self.module.arrays(self.problem)
        missing = []
        for mode in (mode for mode in MODES[self.framework] if mode in modes):
            for contender in contenders:
                if contender in (NEW_COPY, WARM_COPY):
                    continue
                try:
                    self.steps[mode, contender] = self._checked(mode, contender, mean_loss)
                except WrongAnswer:
                    raise
                except Exception as error:  # what frameworks raise has no common base
                    missing.append([mode, contender, _in_a_line(error)])
        self._add_copies(contenders)
        return {"steps": [list(key) for key in self.steps], "missing": missing}

    def measure(self, mode, contender, seconds):
        """Milliseconds of one step."""
        step = self.steps[mode, contender]
        if self.module.has_gpu():
            return {"milliseconds": self._on_gpu(step, seconds)}
        milliseconds = timing.milliseconds_of(lambda: self.module.finish(step()), seconds)
        return {"milliseconds": milliseconds}

    def _on_gpu(self, step, seconds):
        """Milliseconds of a call among many that are not waited for one by one."""
        finish = self.module.finish
        for _ in range(2):
            finish(step())
        start = time.perf_counter()
        finish(step())
        calls = int(seconds / (time.perf_counter() - start))
        calls = min(max(calls, 1), _MOST_CALLS)
        start = time.perf_counter()
        for _ in range(calls):
            result = step()
        finish(result)
        return 1000.0 * (time.perf_counter() - start) / calls

    def _checked(self, mode, contender, mean_loss):
        made = {OURS: self._ours, COMPOSED: self.module.composed, KERAS: self._keras}[contender]
        # Class weights are a loss' own with us: an argument that nobody reads costs time in graphs.
        arrays = self.arrays[:2] if contender == OURS else self.arrays
        step = self.module.step(arrays, mode, made(self.problem))
        self._check(f"{self.framework} {mode}, {contender}", step(), contender, mean_loss)
        return step

    def _check(self, name, result, contender, mean_loss):
        """Raises WrongAnswer unless loss and gradient are right, to rounding."""
        from benchmarks.losses import LOSSES

        problem = self.problem
        tolerance = TOLERANCE if problem.logits.dtype == np.float32 else _TOLERANCE_16
        loss, gradient = (numpy_of(self.module.finish(array)) for array in result)
        N = len(problem.labels)
        rows = np.unique(np.linspace(0, N - 1, min(_ROWS, N)).astype(int))
        expected = problem.answer(rows)[1]
        clipped = np.full(len(rows), False)
        if contender == KERAS and LOSSES[problem.loss].keras_clips:
            clipped = problem.clipped_by_keras(rows)
        elif not abs(float(loss) - mean_loss) <= tolerance * mean_loss:
            raise WrongAnswer(f"{name}: its {problem.loss} loss is {loss}, not {mean_loss}.")
        scale = (problem.weights[problem.labels[rows]] / N)[:, None]
        errors = np.abs(gradient[rows].astype("float64") - expected) / scale
        error = np.max(errors[~clipped], initial=0.0)
        if not error <= tolerance:
            raise WrongAnswer(
                f"{name}: its gradient of the {problem.loss} loss is off by {error:.3g} of an "
                f"example's weight / N, {tolerance} is allowed."
            )

    def _ours(self, problem):
        from benchmarks.losses import LOSSES
        from cb_keras.fused import op

        why = op.why_not(problem.loss, problem.logits.dtype.name)
        if why:
            raise Unavailable(why)
        ours = LOSSES[problem.loss]
        loss = ours.loss_class(class_weights=problem.weights, fused=True, **ours.arguments)
        return lambda labels, logits: loss(labels, logits)

    def _keras(self, problem):
        import keras

        from benchmarks.losses import LOSSES

        loss = LOSSES[problem.loss].keras()
        return lambda y, z, weights: loss(y, z, keras.ops.take(weights, y))

    def _add_copies(self, contenders):
        mode, problem = MODES[self.framework][0], self.problem
        if NEW_COPY in contenders:
            self.steps[mode, NEW_COPY] = self.module.copy(self.arrays)
        if WARM_COPY in contenders and not self.module.has_gpu():
            copy, warm = threaded_copy(problem.logits, cores()), np.zeros_like(problem.logits)
            self.steps[mode, WARM_COPY] = lambda: copy(warm)


def _in_a_line(error):
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def main(arguments):
    framework, _ = arguments
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a framework prints must not come between
    worker = Worker(framework)
    for line in sys.stdin:
        request = json.loads(line)
        do = request.pop("do")
        try:
            answer = getattr(worker, do)(**request)
        except WrongAnswer as error:
            answer = {"wrong": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
