"""Stages that save as they go, so that one that is cut off goes on where it stopped.

This imports the standard library alone: it runs before anything is installed.
"""

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
_PATIENCE = 4.0  # seconds to end in
_SHOWN = 4000  # characters of what a failed command said


class StepFailed(RuntimeError):  # noqa: N818 (an end of a step, not of the program)
    """A step of a stage failed or ran out of time; the message says which."""


@dataclasses.dataclass(frozen=True)
class Kit:
    """What all stages share.

    Attributes:
        output: Folder for the stages' JSON files.
        work: Folder for what is built and trained.
        device: `"gpu"` or `"cpu"`.
        small: Whether everything is to be tiny: a rehearsal.
        data: Folder with the packed images, or None.
        rest: Folder with those that the tail leaves out, or None.
        runs: Files of the trainings.
        deadline: `time.monotonic()` at which the last stage has to end.
        environment: Of the commands.
        train_flags: Of every training, after its own.
        at_once: Trainings side by side, which hide what each does on the CPU.
        mps: Whether they share the GPU by CUDA's MPS.
    """

    output: pathlib.Path
    work: pathlib.Path
    device: str
    small: bool
    data: pathlib.Path | None
    deadline: float
    environment: dict
    rest: pathlib.Path | None = None
    runs: tuple[pathlib.Path, ...] = ()
    train_flags: tuple[str, ...] = ()
    at_once: int = 1
    mps: bool = False

    @property
    def gpu(self):
        """Whether there is a GPU to measure."""
        return self.device == "gpu"


def below_root(path):
    """A path as commands take it, which run in ROOT: records then hold no folder of the machine."""
    path = pathlib.Path(path)
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


class Stage:
    """One stage: a JSON file of steps.

    The file holds `stage`, `device`, `finished`, and `steps`: name to `ok`, `seconds`, and its
    `figures` or `why` there are none.

    Args:
        kit: `Kit`.
        name: Of the stage and its file.
        seconds: How long it may take.
    """

    def __init__(self, kit, name, seconds):
        self.kit, self.name = kit, name
        self.file = kit.output / f"{name}.json"
        self.deadline = min(kit.deadline, time.monotonic() + seconds)
        self.saved = {"stage": name, "device": kit.device, "finished": False, "steps": {}}
        self.lock = threading.Lock()  # of what is saved
        if self.file.exists():
            self.saved |= json.loads(self.file.read_text())

    @property
    def finished(self):
        """Whether there is nothing left to do."""
        return self.saved["finished"]

    @property
    def left(self):
        """Seconds that the stage may still take."""
        return max(0.0, self.deadline - time.monotonic())

    def step(self, name, work, least=1.0):
        """Does `work()` and saves what it returns, unless that is saved already.

        Args:
            name: Of the step.
            work: Function without arguments that returns figures for JSON, or raises StepFailed.
            least: Seconds without which it is not begun.

        Returns:
            The figures, or None where there are none.
        """
        known = self.saved["steps"].get(name)
        if known and known["ok"]:
            return known["figures"]
        start = time.monotonic()
        try:
            if self.left < least:
                raise StepFailed(f"not begun: {self.left:.0f} s are left, {least:.0f} are needed")
            print(f"{self.name}: {name}", flush=True)
            outcome = {"ok": True, "figures": work()}
        except StepFailed as error:
            outcome = {"ok": False, "why": str(error)}
            print(f"{self.name}: {name} failed: {str(error)[-1500:]}", flush=True)
        outcome["seconds"] = round(time.monotonic() - start, 2)
        with self.lock:
            self.saved["steps"][name] = outcome
            self.save()
        return outcome.get("figures")

    def together(self, works, at_once=None, least=1.0):
        """Steps side by side, begun in their order: for what is not timed.

        Args:
            works: Dict of name to work, as `step` takes them.
            at_once: How many, or None for all.
            least: As of `step`.

        Returns:
            Dict of name to figures, or None where there are none.
        """
        with concurrent.futures.ThreadPoolExecutor(at_once or len(works)) as pool:
            begun = {name: pool.submit(self.step, name, do, least) for name, do in works.items()}
            return {name: future.result() for name, future in begun.items()}

    def finish(self):
        """Notes whether all steps were done."""
        self.saved["finished"] = all(step["ok"] for step in self.saved["steps"].values())
        self.save()

    def save(self):
        """Writes the file, whole."""
        part = self.file.with_suffix(".part")
        part.write_text(json.dumps(self.saved, indent=1) + "\n")
        os.replace(part, self.file)

    def run(self, *command, seconds=None, **environment):
        """What a command prints, both streams; it is ended with its children when time is over.

        Args:
            command: Words; "python" is this interpreter.
            seconds: How long it may take; None for all that the stage has left.
            environment: Variables on top of the kit's.

        Raises:
            StepFailed: It fails, can't be run or takes too long; with the end of what it said.
        """
        command = [
            sys.executable if i == 0 and w == "python" else str(w) for i, w in enumerate(command)
        ]
        limit = self.left if seconds is None else min(seconds, self.left)
        with tempfile.TemporaryFile(dir=self.kit.work) as file:
            try:
                process = subprocess.Popen(
                    command,
                    cwd=ROOT,
                    env={**self.kit.environment, **environment},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise StepFailed(f"{command[0]} can't be run: {error}") from error
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                status = f"none after {limit:.0f} s"
            finally:
                _end(process)
            file.seek(0)
            said = file.read().decode(errors="replace")
        if status != 0:
            raise StepFailed(f"{' '.join(command)}: exit status {status}\n{said[-_SHOWN:]}")
        return said


def _end(process):
    """Ends a command and what it started; one that is running may put its things in order."""
    with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
        if process.poll() is None:
            process.terminate()
            process.wait(_PATIENCE)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
