"""Replays the inputs that fuzzing found, and some hundreds more, without atheris."""

import contextlib
import pathlib
import random
import signal

import pytest

from tests import HANG_SECONDS
from tests.fused_library import run_python
from tests.fuzz import mutations, targets

CORPUS = sorted((pathlib.Path(__file__).parent / "corpus").iterdir())


@contextlib.contextmanager
def at_most(seconds):
    """Raises where the block takes longer."""

    def too_long(*_):
        raise TimeoutError(f"took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_a_found_input_is_taken_or_refused_in_one_line(path, tmp_path):
    with at_most(HANG_SECONDS):
        targets.run(path.read_bytes(), tmp_path)


def test_valid_inputs_of_every_kind_are_taken(tmp_path):
    seeds = targets.seeds()
    assert {chr(data[0]) for data in seeds} == set(targets.TARGETS)
    for data in seeds:
        assert targets.run(data, tmp_path), data


@pytest.mark.parametrize("kind", targets.TARGETS)
def test_changed_inputs_are_taken_or_refused_in_one_line(kind, tmp_path):
    inputs = [data for data in targets.seeds() if chr(data[0]) == kind]
    accepted = 0
    for seed in range(100):
        data = mutations.changed(random.Random(seed).choice(inputs), seed)
        try:
            with at_most(HANG_SECONDS):
                accepted += targets.run(data, tmp_path)
        except Exception as error:
            error.add_note(f"the input is {data!r}")
            raise
    assert 0 < accepted < 100  # the changes are neither all harmless nor all fatal


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("--noplots=1", "error: --noplots=1 does not take an argument."),
        ("--flagfile=binary", "error: --flagfile=binary is not UTF-8 text (byte 8); save it as"),
    ],
)
def test_a_mistake_that_absl_takes_for_its_own_is_one_line(argument, line, tmp_path):
    (tmp_path / "binary").write_bytes(b"--plots=\xff")
    program = "from absl import flags; from experiments import cli; "
    program += "flags.DEFINE_bool('plots', True, 'Plots.'); cli.run(print)"
    done = run_python("-c", program, argument, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1
