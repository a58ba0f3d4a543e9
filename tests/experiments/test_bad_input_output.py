"""Output folders that are full or may not be written: one line, nothing half-written, no loss.

A full disk is a small tmpfs, mounted for the test; that takes root's rights.
"""

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile

import keras
import numpy as np
import pytest
import tensorflow as tf

import cb_keras
from experiments import evaluate, train
from experiments.exports import saved_model
from experiments.runs import atomic
from tests.experiments.cases import ABOUT, SHORT, Run, contents, run_program

NOBODY = 65534


@pytest.fixture
def program(capsys):
    """Function of (main, flags) that runs a program here as from a shell."""
    return lambda main, *arguments: run_program(capsys, main, *arguments)


class Disk:
    """A tmpfs of its own size."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self._mounted = False

    def mount(self, size, *options):
        options = ",".join((f"size={size}", *options, *["remount"] * self._mounted))
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.folder],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"a tmpfs can't be mounted here: {done.stderr.strip()}")
        self._mounted = True

    def fill(self):
        """Another program takes the rest."""
        with contextlib.suppress(OSError), open(self.folder / "ballast", "wb", 0) as file:
            while True:
                file.write(bytes(4096))

    def unmount(self):
        if self._mounted:
            subprocess.run(["umount", "--lazy", self.folder], check=True)


@pytest.fixture
def disk(tmp_path):
    (tmp_path / "disk").mkdir()
    disk = Disk(tmp_path / "disk")
    yield disk
    disk.unmount()


@pytest.fixture
def public_folder():
    """A folder that everyone may enter and read, and only its owner may write."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


@contextlib.contextmanager
def ordinary_user():
    """Root may write everywhere; the tests that root runs go on as nobody."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def unfinished(folder):
    """Files and folders that are to be given another name once they are whole."""
    return [p for p in folder.rglob("*") if p.name.startswith(".") or ".tmp" in p.name]


# Folders that may not be written


def test_a_folder_of_another_user_is_refused_before_anything_is_done(public_folder, program):
    os.chmod(public_folder, 0o555)
    folder = public_folder / "run"
    with ordinary_user():
        status, line = program(train.main, *SHORT, f"--output_dir={folder}")
    assert status == 2
    assert line == (
        f"error: --output_dir={folder} can't be written (Permission denied); choose another folder."
    )
    assert list(public_folder.iterdir()) == []


def test_a_read_only_file_system_is_refused_before_anything_is_done(disk, program):
    disk.mount("64k", "ro")
    folder = disk.folder / "run"
    status, line = program(train.main, *SHORT, f"--output_dir={folder}")
    assert status == 2
    assert line == (
        f"error: --output_dir={folder} can't be written (Read-only file system); choose another "
        "folder."
    )
    assert list(disk.folder.iterdir()) == []


def test_figures_that_can_not_be_written_are_refused_before_the_evaluation(
    short_run, public_folder, disk, program
):
    saved = f"--saved_model={short_run.folder / 'saved_model'}"
    os.chmod(public_folder, 0o555)
    with ordinary_user():
        status, line = program(evaluate.main, saved, f"--output={public_folder / 'figures.json'}")
    assert status == 2
    assert f"can't be written ({public_folder}: Permission denied); choose another" in line
    disk.mount("64k", "ro")
    status, line = program(evaluate.main, saved, f"--output={disk.folder / 'figures.json'}")
    assert status == 2
    assert f"--output={disk.folder / 'figures.json'}" in line
    assert f"can't be written ({disk.folder}: Read-only file system); choose another" in line


# Full disks


def test_a_disk_that_is_full_from_the_start_is_named_and_left_as_it_was(disk, program):
    disk.mount("64k")
    folder = disk.folder / "run"
    folder.mkdir()
    disk.fill()
    status, line = program(train.main, *SHORT, f"--output_dir={folder}")
    assert status == 2
    assert str(folder) in line
    assert "No space left on device; free some space there" in line
    assert list(folder.iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_fills_up_stops_the_run_and_resume_finishes_it(
    short_run, disk, program, call_train
):
    # Room for the checkpoint of the first epoch, but not for a second one next to it.
    size = (short_run.folder / "checkpoint" / "state.npz").stat().st_size
    disk.mount(int(1.7 * size))
    folder = disk.folder / "run"
    status, line = program(train.main, *SHORT, f"--output_dir={folder}")
    assert status == 2
    assert str(folder) in line
    assert "No space left on device; free some space there" in line
    assert "--resume" in line
    assert unfinished(folder) == []
    with np.load(folder / "checkpoint" / "state.npz") as file:
        assert json.loads(str(file["header"]))["epochs_done"] == 1
    assert not (folder / "metrics.json").exists()

    disk.mount("64m")
    call_train(*SHORT, f"--output_dir={folder}", "--resume")
    run = Run(folder)
    assert run.column("loss") == short_run.column("loss")
    for value, expected in zip(run.variables, short_run.variables, strict=True):
        np.testing.assert_array_equal(value, expected)
    assert run.metrics["confusion_matrix"] == short_run.metrics["confusion_matrix"]


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return cb_keras.resnet_cifar(8, (8, 8, 1), 3)


@pytest.mark.parametrize("kilobytes", [64, 500, 700])  # too small for the weights, for the graph
def test_a_saved_model_that_does_not_fit_leaves_nothing_and_names_the_folder(
    disk, model, program, kilobytes
):
    disk.mount(f"{kilobytes}k")
    folder = disk.folder / "saved_model"
    status, line = program(lambda argv: saved_model.export(model, folder, ABOUT))
    assert status == 2
    assert str(folder) in line
    assert "No space left on device; free some space there" in line
    assert list(disk.folder.iterdir()) == []


def test_a_keras_file_that_does_not_fit_leaves_nothing_and_names_it(disk, model, program):
    disk.mount("64k")
    file = disk.folder / "model.keras"

    def save(argv):
        with atomic.appears_whole(file) as temporary:
            model.save(temporary)

    status, line = program(save)
    assert status == 2
    assert str(file) in line
    assert "No space left on device" in line
    assert list(disk.folder.iterdir()) == []


def test_figures_on_a_full_disk_leave_the_old_ones(short_run, disk, program):
    disk.mount("64k")
    output = disk.folder / "figures.json"
    output.write_text("old")
    disk.fill()
    before = contents(disk.folder)
    status, line = program(
        evaluate.main, f"--saved_model={short_run.folder / 'saved_model'}", f"--output={output}"
    )
    assert status == 2
    assert str(output) in line
    assert "No space left on device" in line
    assert contents(disk.folder) == before


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(28, "No space left on device", "/a/b"), "/a/b: No space left on device; free"),
        (OSError(28, "No space left on device"), "the output folder: No space left on device;"),
        (OSError(122, "Disk quota exceeded", "/a"), "/a: Disk quota exceeded; free some space"),
        (PermissionError(13, "Permission denied", "/a"), "/a: Permission denied; make it readable"),
        (OSError(30, "Read-only file system", "/a"), "/a: Read-only file system; make it"),
        # As TensorFlow has it, from the file of TensorBoard's events.
        (
            tf.errors.ResourceExhaustedError(
                None, None, "{{node X}} /a/events.v2; No space left on device\n\tFailed to flush"
            ),
            "/a/events.v2: No space left on device; free some space",
        ),
        (
            tf.errors.ResourceExhaustedError(None, None, "; No space left on device"),
            "the output folder: No space left on device; free some space",
        ),
    ],
)
def test_an_error_of_the_file_system_is_one_line(program, error, line):
    def main(argv):
        raise error

    status, found = program(main)
    assert status == 2
    assert found.startswith(f"error: {line}")


@pytest.mark.parametrize(
    "error",
    [
        OSError(5, "Input/output error", "/a"),
        FileNotFoundError(2, "No such file or directory", "/a"),
        OSError("no number"),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating a tensor"),
    ],
)
def test_an_error_of_another_kind_is_not_hidden(program, error):
    def main(argv):
        raise error

    with pytest.raises(type(error)):
        program(main)
