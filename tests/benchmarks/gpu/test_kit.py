"""The folder that travels to a GPU, and the command line there."""

import pathlib
import sys
import types

import numpy as np
import pytest
from sklearn.datasets import load_digits

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import check, images, kernels, packing, training
from benchmarks.gpu.stages import StepFailed


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Digits as colour images, and the folder that they are packed in."""
    digits = load_digits()
    pixels = np.repeat((digits.images * 15).astype("uint8")[..., None], 3, axis=-1)
    pixels[..., 1] //= 2
    arrays = {
        "x_train": pixels[:1300],
        "y_train": digits.target[:1300].astype("int32"),
        "x_test": pixels[1300:],
        "y_test": digits.target[1300:].astype("int32"),
        "class_names": np.array([str(c) for c in range(10)]),
    }
    folder = tmp_path_factory.mktemp("packed")
    images.pack(arrays, folder)
    return arrays, folder


def test_packed_images_come_back_bit_for_bit(packed):
    arrays, folder = packed
    found = images.unpack(folder)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_tail_and_the_rest_make_all_images_in_their_order(packed, tmp_path):
    arrays, _ = packed
    left_out = np.flatnonzero(np.arange(1300) % 3)
    kept = np.setdiff1d(np.arange(1300), left_out)
    tail = arrays | {name: arrays[name][kept] for name in ("x_train", "y_train")}
    rest = {name: arrays[name][left_out] for name in ("x_train", "y_train")}
    images.pack({**rest, "positions": left_out, "class_names": arrays["class_names"]}, tmp_path)
    found = images.whole(tail, images.unpack(tmp_path))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_the_file_of_runs_has_a_run_a_line_each_after_those_it_needs():
    text = "# words\na: --x=1 --y=2  # more\n\nb: --first_stage=@a\n"
    assert training.read(text) == {"a": ("--x=1", "--y=2"), "b": ("--first_stage=@a",)}
    with pytest.raises(ValueError, match="b needs @a, which does not stand above it"):
        training.read("b: --first_stage=@a\na: --x=1\n")
    assert training.read("a: --x=1\na: --x=1\n") == {"a": ("--x=1",)}  # of two files
    with pytest.raises(ValueError, match="NAME: FLAGS, a name for each run, got 'a: --x=2'"):
        training.read("a: --x=1\na: --x=2\n")


def test_the_first_images_alone_can_be_unpacked(packed):
    arrays, folder = packed
    found = images.unpack(folder, most=30)
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(found[name], arrays[name][:30], err_msg=name)


def test_the_archive_is_one_that_the_trainer_reads(packed, tmp_path, monkeypatch):
    from experiments import datasets

    arrays, folder = packed
    file = tmp_path / "tail.npz"
    monkeypatch.setattr(sys, "argv", ["images", str(folder), str(file)])
    images.main()
    data = datasets.load(f"npz:{file}", None)
    np.testing.assert_array_equal(data.train.images, arrays["x_train"])
    np.testing.assert_array_equal(data.test.labels, arrays["y_test"])
    assert images.count(file) == 1300


def test_only_packages_that_are_lacking_are_installed(tmp_path, monkeypatch):
    commands = []
    monkeypatch.setattr(packing.subprocess, "run", lambda command, **_: commands.append(command))
    for name in ("keras-3.15.1-py3-none-any.whl", "no_such_package-1.0-py3-none-any.whl"):
        (tmp_path / name).touch()
    lacking = packing.install_missing(tmp_path, tmp_path / "site")
    assert lacking == ["no_such_package-1.0-py3-none-any.whl"]
    (command,) = commands
    assert "--no-index" in command
    assert [pathlib.Path(part).name for part in command if part.endswith(".whl")] == lacking


def test_a_folder_with_something_in_it_is_not_packed_into(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(SystemExit, match="is not empty; give a new folder"):
        packing.pack(tmp_path, None, "3.12")


def test_an_unknown_stage_is_refused_by_name(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu", "--output_dir=x", "--stages=check,bench"])
    with pytest.raises(SystemExit):
        program.parsed()
    assert (
        "--stages must be of check, kernels, steps, speed, training, got bench"
        in capsys.readouterr().err
    )


def test_without_a_gpu_the_program_says_how_to_rehearse(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"no GPU here .*--device=cpu --small"):
        program._architecture()


def test_figures_of_kernels_that_took_too_long_are_kept_with_what_ended_them(tmp_path):
    class Stage:
        kit = types.SimpleNamespace(work=tmp_path)

        def run(self, *command, seconds):
            (tmp_path / "kernels.json").write_text('{"timings": [1]}')
            raise StepFailed("none after 60 s")

    assert kernels._kernels(Stage()) == {"timings": [1], "incomplete": "none after 60 s"}


def test_runs_are_named_by_their_file_here_or_anywhere(monkeypatch, tmp_path, capsys):
    mine = tmp_path / "mine.runs"
    mine.write_text("a: --x=1\n")
    monkeypatch.setattr(sys, "argv", ["gpu", "--output_dir=x", f"--runs=table1,{mine}"])
    here = pathlib.Path(program.__file__).parent / "table1.runs"
    assert program.parsed().runs == (here, mine)
    monkeypatch.setattr(sys, "argv", ["gpu", "--output_dir=x", "--runs=table1,tabel2"])
    with pytest.raises(SystemExit):
        program.parsed()
    assert "--runs: there is no " in capsys.readouterr().err


@pytest.mark.parametrize("same", [True, False])
def test_a_check_that_was_packed_is_used_for_the_sources_that_it_is_of(same, tmp_path):
    packed, work = tmp_path / "packed", tmp_path / "work"
    packed.mkdir()
    (packed / packing.CHECK).write_text("#!/bin/sh\n")
    (packed / packing.DIGEST).write_text(packing.digest() if same else "of other sources")
    (packed / "core.so").write_bytes(b"core")
    packing.take_built(packed, work)
    assert (work / "cache" / "core.so").read_bytes() == b"core"
    commands = []
    stage = types.SimpleNamespace(run=lambda *command: commands.append(command))
    assert check._built(stage, "cuda", work / packing.CHECK) == {"bytes": 10}
    built = ("python", "-m", "ops.check.build", "cuda", work / packing.CHECK)
    assert commands == ([] if same else [built])
