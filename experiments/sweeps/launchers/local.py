"""Runs trainings on this machine, each in a process of its own, some at a time."""

import ctypes
import functools
import os
import signal
import subprocess
import sys
import time

POLL_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded here: a forked child should do as little as it can


def run(jobs, slots, retries, on_change, on_poll):
    """Runs all jobs that are not done, `slots` at a time, each on its share of the cores.

    A job that fails waits until the others had their turn and is started again, up to `retries`
    times; one that the trainer refused before its first epoch (exit status 2) is not, for it would
    be refused again. A job that begins with another waits for it. Where this process ends, however
    it ends, its trainings end with it; they keep their checkpoints.

    Args:
        jobs: List of `jobs.Job`; their state is kept up to date.
        slots: Trainings at a time.
        retries: How often a failed job is started again.
        on_change: Called with a job that has been started, has finished or has failed.
        on_poll: Called about twice a second.
    """
    queue = [job for job in jobs if job.state == "waiting"]
    shares = core_shares(slots)
    running = {}  # slot: (job, process)
    try:
        while queue or running:
            for job in [job for job in queue if job.first and job.first.state == "failed"]:
                queue.remove(job)
                job.state, job.reason = "failed", f"{job.first.name} failed, with which it begins"
                on_change(job)
            for slot in range(slots):
                if slot not in running and (job := _take(queue)):
                    running[slot] = job, _start(job, shares[slot], slots > 1)
                    on_change(job)
            time.sleep(POLL_SECONDS)
            for slot, (job, process) in list(running.items()):
                if process.poll() is not None:
                    del running[slot]
                    if _ended(job, process.returncode, retries):
                        queue.append(job)
                    on_change(job)
            on_poll()
    finally:
        _stop([process for _, process in running.values()])


def _take(queue):
    """Takes out the first job that can begin; None where all wait for others."""
    for job in queue:
        if job.first is None or job.first.state == "done":
            queue.remove(job)
            return job
    return None


def core_shares(slots):
    """The cores of this process in `slots` lists of nearly equal length; None where unknown."""
    if not hasattr(os, "sched_getaffinity"):
        return [None] * slots
    cores = sorted(os.sched_getaffinity(0))
    return [cores[slot::slots] for slot in range(slots)]


def _start(job, cores, share_gpu):
    job.state = "running"
    job.attempts += 1
    job.reason = ""
    job.log.parent.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    if share_gpu:  # else the first training takes all of the GPU's memory
        environment.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with open(job.log, "ab") as log:
        job.log_start = log.tell()
        return subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            preexec_fn=functools.partial(_in_child, os.getpid(), cores),
        )


def _in_child(parent, cores):
    """Runs in the new process before the training: binds its life to the sweep's, and its cores."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)
    if cores:
        os.sched_setaffinity(0, cores)


def _ended(job, status, retries):
    """Sets the state of a job whose process has ended; True where it is to be started again."""
    if status == 0 and job.is_complete():
        job.state = "done"
        return False
    job.reason = f"{_words(status)}: {_last_line(job)}"
    refused = status == 2 and job.epochs_done() == 0
    again = job.attempts <= retries and not refused
    job.state = "waiting" if again else "failed"
    return again


def _words(status):
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}"


def _last_line(job):
    """The trainer's error, or the last line that it wrote, since its last start."""
    text = job.log.read_bytes()[job.log_start :].decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["no output"])[-1]


def _stop(processes):
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
