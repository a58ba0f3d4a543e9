"""Kills a real training with SIGKILL again and again until it is complete; a program for tests.

python -m tests.experiments.kills FOLDER KILLS SEED FLAGS... trains into FOLDER/run0, run1, ...
until KILLS trainings have been killed and the last run is complete, and prints how, as JSON. Half
of the kills come at random moments, half while a file of the run is being written.

TensorFlow is imported once; each training is a fork of that, so that a kill costs seconds less.
"""

import json
import os
import pathlib
import random
import signal
import sys
import time
import traceback
import zipfile

from experiments import train
from tests.experiments.cases import call

LONGEST = 6.0  # seconds until a kill at a random moment
# Moments of writing, and how often a run comes by them.
WRITING = {
    **{f"{when} {what}": 30 for when in ("before", "after") for what in ("fsync", "replace")},
    "within a checkpoint": 500,
    "within a text": 12,
}


def main():
    """Trains, kills, and prints what was done."""
    folder, kills, seed = pathlib.Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    done = {"random": 0, "writing": 0}
    moments = []
    runs = 0
    while sum(done.values()) < kills or not _complete(folder / f"run{runs}"):
        if _complete(folder / f"run{runs}"):
            runs += 1
        how = ("random", "writing")[sum(done.values()) % 2] if sum(done.values()) < kills else None
        killed, moment = _attempt(folder / f"run{runs}", how, rng)
        if killed:
            done[how] += 1
            moments.append(moment)
    print(json.dumps({"kills": done, "runs": runs + 1, "moments": moments}))


def _attempt(run, how, rng):
    """One training; whether it was killed, and what it was doing."""
    delay, moment = rng.uniform(0.0, LONGEST), rng.choice(list(WRITING))
    skip = rng.randrange(WRITING[moment])
    child = os.fork()
    if not child:
        _train(run, (moment, skip) if how == "writing" else None)
    if how == "random":
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0, (run.parent / "log.txt").read_text()[-3000:]
        return False, None
    moment = f"after {delay:.2f} s" if how == "random" else moment
    history = run / "history.csv"
    epochs = history.read_text().count("\n") - 1 if history.exists() else 0
    return True, f"{moment}, {epochs} epochs in history.csv"


def _train(run, kill_at):
    """In the child: trains, and kills itself at a moment of writing, `(which, how many before)`."""
    status = 1
    try:
        log = os.open(run.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if kill_at:
            _kill_at(*kill_at)
        call(train.main, *sys.argv[4:], f"--output_dir={run}", "--resume")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def _kill_at(moment, skip):
    left = [skip]

    def passes(name):
        left[0] -= name == moment
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched(module, name, before, after):
        original = getattr(module, name)

        def function(*arguments, **options):
            passes(before)
            result = original(*arguments, **options)
            passes(after)
            return result

        setattr(module, name, function)

    for name in ("fsync", "replace"):
        watched(os, name, f"before {name}", f"after {name}")
    watched(zipfile.ZipFile, "open", "within a checkpoint", "")  # before each of its arrays
    write_bytes = pathlib.Path.write_bytes

    def write_half_first(path, content):
        write_bytes(path, content[: len(content) // 2])
        passes("within a text")
        return write_bytes(path, content)

    pathlib.Path.write_bytes = write_half_first


def _complete(run):
    return (run / "metrics.json").exists()


if __name__ == "__main__":
    main()
