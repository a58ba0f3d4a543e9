"""A run of 200 epochs needs no more memory and no more open files at its end than at its start."""

import os
import pathlib
import statistics
import subprocess
import sys
import time

import pytest

from tests.experiments.cases import SHORT

ROOT = pathlib.Path(__file__).parents[3]
EPOCHS = 200


def resident_mib(pid):
    fields = pathlib.Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def open_files(pid):
    return len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))


def epochs_done(folder):
    history = folder / "history.csv"
    return history.read_text().count("\n") - 1 if history.exists() else 0


@pytest.mark.slow
@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="needs Linux' /proc")
def test_memory_and_open_files_stay_flat(tmp_path):
    flags = [f for f in SHORT if not f.startswith(("--train_epochs", "--eval_epochs"))]
    command = [
        *(sys.executable, "-m", "experiments.train", *flags, f"--train_epochs={EPOCHS}"),
        *("--eval_epochs=5", f"--output_dir={tmp_path / 'run'}"),
    ]
    samples = {}  # epoch: (MiB, files)
    with open(tmp_path / "log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        while process.poll() is None:
            try:
                epoch = epochs_done(tmp_path / "run")
                samples.setdefault(epoch, []).append(
                    (resident_mib(process.pid), open_files(process.pid))
                )
            except OSError:
                continue  # it has just ended
            time.sleep(0.05)
    assert process.returncode == 0, (tmp_path / "log").read_text()[-3000:]

    def median_of(first, last, what):
        return statistics.median(s[what] for e in range(first, last) for s in samples.get(e, ()))

    # The first epochs make graphs, buffers and the first evaluation; the second twenty are at rest.
    tenth = EPOCHS // 10
    begin, end = (tenth, 2 * tenth), (EPOCHS - tenth, EPOCHS)
    memory = [median_of(*part, 0) for part in (begin, end)]
    files = [median_of(*part, 1) for part in (begin, end)]
    print(f"MiB {memory[0]:.0f} -> {memory[1]:.0f}, open files {files[0]:.0f} -> {files[1]:.0f}")
    assert memory[1] < memory[0] * 1.03
    assert files[1] <= files[0]
