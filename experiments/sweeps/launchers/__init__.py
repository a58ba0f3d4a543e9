"""Where the trainings of a sweep run: adding a launcher is a file here and a line in `LAUNCHERS`.

A launcher is a function of `(jobs, slots, retries, on_change, on_poll)` as `local.run` has them: it
returns once every job is done or has failed, and keeps the state of each up to date.
"""

from experiments.sweeps.launchers import local

LAUNCHERS = {"local": local.run}
