"""TensorFlow's start-up lines are kept back, and nothing else."""

import pytest

from experiments.cli.quiet import without_start_up_lines

# As TensorFlow 2.21 says them on a machine without a GPU, and other versions with one.
START_UP = b"""\
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795671340.418209    7872 port.cc:153] oneDNN custom operations are on.
I0000 00:00:1795671340.418902    7872 cudart_stub.cc:31] Could not find cuda drivers
2026-01-01 00:00:00.000000: I tensorflow/core/platform/cpu_feature_guard.cc:210] This TensorFlow
To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow
E0000 00:00:1795671434.941157    8537 cuda_platform.cc:52] failed call to cuInit: INTERNAL: (303)
E0000 00:00:1 1 cuda_dnn.cc:8310] Unable to register cuDNN factory: Attempting to register
W0000 00:00:1 1 computation_placer.cc:177] computation placer already registered. Please check
"""
SUBSTANCE = b"""\
W0000 00:00:1 1 gpu_device.cc:2341] Cannot dlopen some GPU libraries. Skipping registering GPU
E0000 00:00:1 1 cuda_platform.cc:52] failed call to cuInit: CUDA_ERROR_UNKNOWN (999)
F0000 00:00:1 1 cpu_feature_guard.cc:99] The TensorFlow library was compiled to use AVX
DeprecationWarning: something
  something(else)
In I0000 00:00:17
"""
TENSORFLOW = """
import os, sys
os.write(2, {said!r})
class config:
    def list_physical_devices():
        os.write(2, b"I0000 00:00:17 devices\\n")
{end}
"""


def test_start_up_lines_are_told_from_warnings_and_errors():
    assert without_start_up_lines(START_UP) == b""
    assert without_start_up_lines(SUBSTANCE) == SUBSTANCE
    assert without_start_up_lines(START_UP + SUBSTANCE + b"end") == SUBSTANCE + b"end"


@pytest.fixture
def importing(tmp_path, program, monkeypatch):
    """Function that runs a program which imports a module that stands for TensorFlow."""

    def run(said, end="", body="import tensorflow, sys; print('ours', file=sys.stderr)"):
        (tmp_path / "tensorflow.py").write_text(TENSORFLOW.format(said=said, end=end))
        return program(body)

    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    return run


def test_the_first_import_of_tensorflow_is_quiet_and_what_is_wrong_is_told(importing):
    done = importing(START_UP + SUBSTANCE)
    assert (done.returncode, done.stderr) == (0, SUBSTANCE.decode() + "ours\n")
    body = "import tensorflow, os; os.write(2, b'I0000 00:00:17 later')"
    assert importing(START_UP, body=body).stderr == "I0000 00:00:17 later"


def test_everything_is_told_where_it_is_asked_for_by_the_log_level(importing, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    assert importing(START_UP).stderr == START_UP.decode() + "I0000 00:00:17 devices\nours\n"


@pytest.mark.parametrize("end", ["raise ImportError('broken')", "os.abort()"])
def test_everything_is_told_where_the_import_fails_or_crashes(importing, end):
    done = importing(START_UP, end)
    assert done.returncode != 0
    assert done.stderr.startswith(START_UP.decode())
    assert ("ImportError: broken" in done.stderr) == ("ImportError" in end)


def test_a_tensorflow_that_is_not_there_is_an_import_error_as_ever(program, monkeypatch):
    body = "import sys; sys.path[:] = []; import tensorflow"
    done = program(body)
    assert "ModuleNotFoundError: No module named 'tensorflow'" in done.stderr
