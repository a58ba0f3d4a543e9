"""The processes of benchmarks.frameworks: one a framework, asked in turn."""

import json
import os
import subprocess
import sys
import threading
import time

from benchmarks.loss_problem import WrongAnswer


class Died(RuntimeError):  # noqa: N818 (the end of a process, not of the program)
    """A framework's process ended, or took too long; the message says which."""


class Process:
    """A framework's process.

    Args:
        framework: A key of `contenders.MODES`.
        device: `"cpu"` or `"gpu"`.
        log: File that what it prints is added to.
    """

    def __init__(self, framework, device, log):
        environment = {
            **os.environ,
            "KERAS_BACKEND": framework,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # of a GPU's memory others need some too
        }
        if device == "cpu":
            environment |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.frameworks.worker", framework, device],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )

    def ask(self, do, deadline=None, **arguments):
        """The answer of `Worker.do(**arguments)`, a dict.

        Raises:
            WrongAnswer: A contender's; nothing has been timed.
            Died: There is none, or not before `time.monotonic()` is `deadline`.
        """
        watch = None
        if deadline is not None:
            watch = threading.Timer(max(0.0, deadline - time.monotonic()), self.process.kill)
            watch.start()
        try:
            print(json.dumps({"do": do, **arguments}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            if watch is not None:
                watch.cancel()
        if not line:
            late = deadline is not None and time.monotonic() >= deadline
            status = self.process.wait()
            raise Died("it took too long" if late else f"its process ended with status {status}")
        answer = json.loads(line)
        if "wrong" in answer:
            raise WrongAnswer(answer["wrong"])
        return answer

    def stop(self):
        """Ends it."""
        self.process.kill()
        self.process.wait()
