"""Output that a terminal can't show, that nobody reads, or that has no room."""

import os
import subprocess
import sys

import pytest

from tests import HANG_SECONDS
from tests.experiments.cases import ROOT
from tests.experiments.report_folders import write_run


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_what_a_terminal_can_not_show_is_escaped_and_ends_nothing(program, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", encoding)
    done = program("print(chr(0xe4), chr(0xdcff)); raise cli.UserError(chr(0xe4) + chr(0xdcff))")
    letter = r"\xe4" if encoding == "ascii" else "ä"
    assert (done.stdout, done.stderr) == (rf"{letter} \udcff" "\n", rf"error: {letter}\udcff" "\n")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_program_whose_output_is_closed_goes_on_to_its_end(
    tmp_path, program_file, stream, unbuffered
):
    write = f"print('x' * 99_999, file=sys.{stream}, flush=True); "
    child = "subprocess.run('echo x; echo x >&2', shell=True, check=True); "
    body = f"import pathlib, subprocess, sys; {write * 2}{child}{write}"
    body += "pathlib.Path('end').touch(); print(1, end='')"
    done = run_unread(tmp_path, [program_file(body)], stream, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 0
    assert (tmp_path / "end").exists()
    others = {"stdout": done.stderr, "stderr": done.stdout}[stream]
    assert others == {"stdout": b"x\n", "stderr": b"x\n1"}[stream]


def run_unread(folder, arguments, stream, **environment):
    """Runs Python in the folder with this stream going into a pipe that is closed at its end."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            timeout=HANG_SECONDS,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: writer},
        )
    finally:
        os.close(writer)


def test_a_report_that_nobody_hears_of_is_written(tmp_path):
    write_run(tmp_path / "run")
    done = run_unread(tmp_path, ["-m", "experiments.report", "run"], "stdout")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000


def test_an_error_that_nobody_reads_keeps_its_exit_status(tmp_path):
    arguments = ["-m", "experiments.report", "run"]
    assert run_unread(tmp_path, arguments, "stderr").returncode == 2


def test_output_on_a_full_disk_is_not_lost_in_silence(program_file):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, program_file("print(1, flush=True)")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=HANG_SECONDS,
        )
    assert done.returncode != 0
    assert b"No space left on device" in done.stderr
