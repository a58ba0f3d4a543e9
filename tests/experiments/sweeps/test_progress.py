"""The live display of a sweep, drawn into a string."""

import io
import json

import pytest
import rich.console

from experiments.sweeps import progress
from experiments.sweeps.jobs import Job
from tests.experiments.sweeps.cases import cells_of

NUMBERS = {"cb_power": 1.0, "cb_beta": 0.9999, "imbalance_factor": 0.02, "seed": 0}


@pytest.fixture
def sweep(tmp_path):
    """Cells and jobs of table 2 in 10 epochs, none begun."""
    cells = cells_of("2", train_epochs=10)
    jobs = [
        Job(f"cell{i}", tmp_path / f"cell{i}", tmp_path / f"{i}.log", []) for i in range(len(cells))
    ]
    return cells, jobs


def train(job, epochs, images=1000, accuracy=None):
    """Leaves in the job's folder what a training has written after some epochs."""
    job.folder.mkdir(exist_ok=True)
    config = {
        "flags": {"loss": "softmax", "dataset": "digits", **NUMBERS},
        "class_counts": [images - 1, 1],
        "class_weights": [1, 1],
        "class_names": ["a", "b"],
    }
    (job.folder / "config.json").write_text(json.dumps(config))
    (job.folder / "history.csv").write_text("epoch\n" + "1\n" * epochs)
    job.state = "running"
    if accuracy is not None:
        (job.folder / "metrics.json").write_text(json.dumps({"accuracy": accuracy}))
        job.state = "done"


def drawn(cells, jobs, width=100):
    console = rich.console.Console(file=io.StringIO(), width=width)
    console.print(progress.ProgressTable(cells, jobs, console).table())
    return console.file.getvalue()


def test_the_table_shows_what_is_done_running_failed_and_waiting(sweep):
    cells, jobs = sweep
    train(jobs[0], 10, accuracy=0.7)
    train(jobs[1], 4)
    jobs[2].state = "failed"
    text = drawn(cells, jobs)
    assert "1 of 12 cells done, 1 running, 1 failed" in text
    (softmax,) = [line for line in text.splitlines() if "softmax" in line]
    assert [part.strip() for part in softmax.strip("│ ").split("│")] == [
        *("softmax", ".7000", "4/10", "failed", "waiting")
    ]


@pytest.mark.parametrize("width", [100, 60, 50, 28])
def test_nothing_is_cut_off_in_a_narrow_terminal(sweep, width):
    cells, jobs = sweep
    train(jobs[0], 10, accuracy=0.7)
    jobs[2].state = "failed"
    lines = drawn(cells, jobs, width).splitlines()
    assert lines[0].strip() == "1 of 12 cells done, 1 failed"
    text = " ".join(lines)
    assert "…" not in text
    assert text.count("waiting") == 10
    assert ".7000" in text


def test_the_summary_is_not_as_narrow_as_a_small_table(sweep):
    cells, jobs = sweep
    jobs[0].state = "failed"
    text = drawn(cells[:1], jobs[:1])
    assert text.splitlines()[0].strip() == "0 of 1 cells done, 1 failed"


def test_the_time_left_is_that_of_the_images_left_at_the_rate_so_far(sweep, monkeypatch):
    cells, jobs = sweep
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    train(jobs[0], 10, accuracy=0.7)  # done before: it says nothing of this sweep's rate
    clock = progress.WorkClock(cells, jobs)
    assert clock.seconds_left() is None
    now[0] += 60.0
    train(jobs[1], 5)
    # 5 epochs a minute; left are 5 of the running cell and 10 of each of ten others.
    assert clock.seconds_left() == pytest.approx(60.0 / 5 * 105)


def test_cells_with_more_images_count_for_more(tmp_path, monkeypatch):
    cells = cells_of("1", train_epochs=10)[:2]
    jobs = [Job(n, tmp_path / n, tmp_path / "log", []) for n in ("balanced", "tail")]
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = progress.WorkClock(cells, jobs)
    train(jobs[0], 5, images=4000)
    train(jobs[1], 0, images=1000)
    now[0] = 50.0
    # 5 epochs of 4000 in 50 seconds; left are 5 of 4000 and 10 of 1000.
    assert clock.seconds_left() == pytest.approx(50.0 * 30 / 20)


def test_where_there_is_no_terminal_every_change_is_a_line(sweep):
    cells, jobs = sweep
    console = rich.console.Console(file=io.StringIO(), width=60)
    with progress.ProgressTable(cells, jobs, console) as display:
        job = jobs[0]
        job.state, job.attempts = "running", 1
        display.changed(job)
        display.refresh(0.0)
        job.state, job.reason = "waiting", "exit status 1: [Errno 28] No space left on device"
        display.changed(job)
        train(job, 10, accuracy=0.7)
        display.changed(job)
    assert [line.split(" | ")[0] for line in console.file.getvalue().splitlines()] == [
        "cell0 started",
        "cell0 failed and will be tried again: exit status 1: [Errno 28] No space left on device",
        "cell0 done, accuracy .7000",
    ]


def test_in_a_terminal_the_table_is_drawn_and_taken_away_at_the_end(sweep):
    cells, jobs = sweep
    console = rich.console.Console(file=io.StringIO(), width=100, force_terminal=True)
    with progress.ProgressTable(cells, jobs, console) as display:
        train(jobs[0], 3)
        display.refresh(0.0)
        assert "3/10" in console.file.getvalue()
        job = jobs[0]
        display.changed(job)
        assert "cell0" not in console.file.getvalue()  # no lines next to the table
