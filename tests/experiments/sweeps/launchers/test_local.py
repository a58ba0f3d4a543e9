"""Trainings in processes of their own, with a stand-in for the trainer that does as told."""

import os
import subprocess
import sys
import textwrap

import pytest

from experiments.sweeps.jobs import Job
from experiments.sweeps.launchers import local
from tests.experiments.cases import ROOT, alive, wait_for

# `--do=` says what each attempt does; the last word holds for all later ones.
STAND_IN = """
    import os, pathlib, signal, sys, time
    flags = dict(a.removeprefix("--").split("=") for a in sys.argv[1:])
    folder = pathlib.Path(flags["output_dir"])
    folder.mkdir(parents=True, exist_ok=True)
    def meets(folder):
        return len(list(folder.parent.glob("*/started"))) > 1

    attempts = len(list(folder.glob("attempt*")))
    (folder / f"attempt{attempts}").write_text(",".join(map(str, os.sched_getaffinity(0))))
    what = flags["do"].split(",")
    what = what[min(attempts, len(what) - 1)]
    print(f"attempt {attempts}: {what}", flush=True)
    if "epoch" in what:
        (folder / "history.csv").write_text("epoch\\n1\\n")
    if "crash" in what:
        raise ValueError("a mistake in the trainer")
    if "refuse" in what:
        print("error: --depth must be 6n + 2, got 9.", file=sys.stderr)
        sys.exit(2)
    if "killed" in what:
        os.kill(os.getpid(), signal.SIGKILL)
    if "nothing" in what:
        sys.exit(0)
    (folder / "started").write_text(str(time.time()))
    while "forever" in what or ("meet" in what and not meets(folder)):
        time.sleep(0.02)
    (folder / "metrics.json").write_text("{}")
    (folder / "ended").write_text(str(time.time()))
"""


@pytest.fixture
def jobs(tmp_path, monkeypatch):
    """Function of name=what to do that returns the jobs."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "train.py").write_text(textwrap.dedent(STAND_IN))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(local, "POLL_SECONDS", 0.02)

    def make(**what):
        made = []
        for name, do in what.items():
            folder = tmp_path / "runs" / name
            flags = [f"--output_dir={folder}", f"--do={do}"]
            made.append(Job(name, folder, tmp_path / "logs" / f"{name}.log", flags))
        return made

    return make


def run(jobs, slots=1, retries=1):
    """Runs the jobs; returns `[(name, state), ...]` as it was reported."""
    changes = []
    local.run(jobs, slots, retries, lambda job: changes.append((job.name, job.state)), lambda: None)
    return changes


def test_all_jobs_are_done_in_their_order(jobs):
    made = jobs(a="ok", b="ok")
    assert run(made) == [("a", "running"), ("a", "done"), ("b", "running"), ("b", "done")]
    assert all(job.is_complete() for job in made)


def test_a_job_that_is_done_is_not_started(jobs):
    made = jobs(a="ok", b="ok")
    made[0].state = "done"
    assert run(made) == [("b", "running"), ("b", "done")]
    assert not made[0].folder.exists()


def test_a_crash_is_reported_harms_no_other_job_and_is_retried_after_them(jobs):
    made = jobs(a="crash,ok", b="ok")
    assert run(made) == [
        *[("a", "running"), ("a", "waiting"), ("b", "running"), ("b", "done")],
        *[("a", "running"), ("a", "done")],
    ]
    log = made[0].log.read_text()
    assert "ValueError: a mistake in the trainer" in log  # of the first attempt
    assert "attempt 1: ok" in log


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        ("crash", "exit status 1: ValueError: a mistake in the trainer"),
        ("killed", "killed by SIGKILL: attempt 1: killed"),
        ("nothing", "exit status 0: attempt 1: nothing"),  # it said that all is well
        ("epoch-refuse", "exit status 2: error: --depth must be 6n + 2, got 9."),
        ("epoch-refuse,killed", "killed by SIGKILL: attempt 1: killed"),  # not the error before
    ],
)
def test_a_job_that_keeps_failing_is_given_up_with_its_reason(jobs, do, reason):
    made = jobs(a=do, b="ok")
    run(made)
    assert (made[0].state, made[0].attempts, made[0].reason) == ("failed", 2, reason)
    assert made[1].state == "done"


def test_what_the_trainer_refuses_before_its_first_epoch_is_not_retried(jobs):
    (job,) = jobs(a="refuse")
    run([job], retries=5)
    assert (job.state, job.attempts) == ("failed", 1)


def test_a_job_is_retried_as_often_as_asked(jobs):
    (job,) = jobs(a="crash")
    run([job], retries=3)
    assert job.attempts == 4
    (job,) = jobs(b="crash")
    run([job], retries=0)
    assert job.attempts == 1


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_jobs_at_the_same_time_overlap_on_cores_of_their_own(jobs):
    made = jobs(a="meet", b="meet", c="ok")  # a and b end only once both have begun
    run(made, slots=2)

    def read(job, name):
        return (job.folder / name).read_text()

    a, b, c = made
    assert float(read(b, "started")) < float(read(a, "ended"))
    assert float(read(c, "started")) >= min(float(read(j, "ended")) for j in (a, b))
    shares = [set(map(int, read(job, "attempt0").split(","))) for job in (a, b)]
    assert not shares[0] & shares[1]
    assert shares[0] | shares[1] == os.sched_getaffinity(0)


def test_an_interrupt_ends_the_trainings(jobs):
    (job,) = jobs(a="forever")

    def interrupt():
        if (job.folder / "started").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        local.run([job], 1, 1, lambda job: None, interrupt)
    assert not alive(str(job.folder))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal at the parent's death")
def test_a_killed_sweep_takes_its_trainings_with_it(jobs, tmp_path):
    (job,) = jobs(a="forever")
    code = textwrap.dedent(f"""
        import pathlib, sys
        sys.path.insert(0, {str(ROOT)!r})
        from experiments.sweeps.jobs import Job
        from experiments.sweeps.launchers import local
        folder = pathlib.Path({str(job.folder)!r})
        job = Job("a", folder, pathlib.Path({str(job.log)!r}), {job.arguments!r})
        local.run([job], 1, 1, lambda job: None, lambda: None)
    """)
    (tmp_path / "sweep_alone.py").write_text(code)
    with subprocess.Popen([sys.executable, "sweep_alone.py"]) as sweep:
        wait_for(lambda: (job.folder / "started").exists() or sweep.poll() is not None)
        assert alive(str(job.folder))
        sweep.kill()
    wait_for(lambda: not alive(str(job.folder)))


def test_a_job_that_begins_with_another_waits_for_it_and_fails_with_it(jobs):
    made = jobs(a="crash,ok", b="ok", c="crash", d="ok")
    made[1].first, made[3].first = made[0], made[2]
    changes = run(made, slots=2)
    order = [change for change in changes if change[0] in "ab"]
    assert order.index(("a", "done")) < order.index(("b", "running"))
    assert made[1].state == "done"
    assert (made[3].state, made[3].attempts) == ("failed", 0)
    assert made[3].reason == "c failed, with which it begins"
