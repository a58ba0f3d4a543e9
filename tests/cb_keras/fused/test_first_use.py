"""The first use of the fused op, which a process has once: what is loaded, and what is not.

Another process goes through `tests/cb_keras/fused/first_use.py` and prints what it finds.
"""

import os
import shutil

import numpy as np
import pytest

from cb_keras.fused import core, library
from tests.cb_keras.cases import CLASSES, COUNTS, IDS_OF_INPUTS, INPUTS, fit, linear_model
from tests.cb_keras.fused.cases import digest, write_sealed
from tests.fused_library import library_path, report

pytestmark = [pytest.mark.usefixtures("fused_op"), pytest.mark.slow]

RUN = "import sys; from tests.cb_keras.fused import first_use; first_use.main()"
TRAIN = "import sys; from tests.cb_keras.fused import first_use; first_use.main(['untrained'])"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, fused_op):
    """Folder of a model as it was before it trained with the op, and its losses."""
    folder = tmp_path_factory.mktemp("first_use")
    model = linear_model(CLASSES["focal"](COUNTS), "graph")
    model.save(folder / "model.keras")
    np.save(folder / "inputs.npy", INPUTS)
    np.save(folder / "labels.npy", IDS_OF_INPUTS)
    return folder, fit(model, epochs=3)


@pytest.fixture(scope="module")
def found(trained):
    """What the process prints, by stage; each has a cache of its own, with the same good library.

    By symbolic links: TensorFlow can't load the ops of a copy next to those of the original.
    """
    folder, content = trained[0], library_path().read_bytes()
    end = content.index(b"}\0", content.index(b"cb_keras ops library: ")) + 2
    caches = {name: folder / name for name in ("empty", "cut", "threads", "next to", "package")}
    caches["not UTF-8"] = os.fsdecode(os.fsencode(folder) + b"/caf\xe9")
    for path in caches.values():
        os.mkdir(path)
    (caches["cut"] / "cut.so").write_bytes(content[:end])
    (caches["cut"] / "zeros.so").write_bytes(content[:end] + bytes(len(content) - end))
    write_sealed(caches["package"] / library.builder().LIBRARY, bytes(64) + content[64:])
    good = os.path.join(caches["not UTF-8"], "good.so")
    shutil.copy(library_path(), good)
    for name in ("threads", "next to"):
        os.symlink(good, caches[name] / "good.so")
    for name in ("threads", "next to", "not UTF-8"):
        os.symlink(core.loaded()[0].path, os.path.join(caches[name], "core.so"))
    return report(RUN, folder=folder, CB_KERAS_CACHE=str(caches["empty"]))


def check_training(found, why, losses):
    auto, status, error, history = found
    assert auto == "auto"
    assert status.startswith(f"fused op: not in use: {why}")
    assert error.startswith(f"`fused=True`, but the fused op can't be used here: {why}")
    np.testing.assert_allclose(history, losses, rtol=1e-5)


def test_a_keras_file_made_with_the_op_trains_where_there_is_none(found, trained):
    check_training(found["untrained"], "it is not built for TensorFlow", trained[1])


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_a_keras_file_made_with_the_op_trains_on_another_backend(backend, trained):
    pytest.importorskip(backend)
    found = report(TRAIN, folder=trained[0], KERAS_BACKEND=backend)
    auto, _, _, history = found["untrained"]  # with the op or without, as the backend has it
    assert auto == "auto"
    np.testing.assert_allclose(history, trained[1], rtol=1e-5)


def test_a_library_whose_end_is_missing_gives_a_reason_and_no_crash(found):
    """The dynamic linker is killed by a file that is cut off."""
    assert found["cut"].startswith("fused op: not in use: it is not built")
    assert found["cut"].count("is damaged or not a library of this version") == 2


def test_two_threads_at_first_use_and_a_module_imported_again_have_the_op(found):
    """Both threads load, one registers the gradient."""
    available, status = found["threads"]
    assert available == [True, True]
    assert status.startswith("fused op: in use: ")


def test_a_library_that_can_be_loaded_is_used_next_to_one_that_cannot(found):
    """The damaged one comes first, next to the package."""
    first, status = found["next to"]
    assert first.endswith(library.builder().LIBRARY)
    assert status.startswith("fused op: in use: ")
    assert "/good.so (CPU kernels: " in status


def test_a_cache_whose_name_is_not_utf8_is_used_and_printed(found):
    assert "fused op: in use: " in found["not UTF-8"]
    assert r"/caf\udce9/" in found["not UTF-8"]


def test_one_thread_gives_the_bits_of_several(found):
    assert found["digest"] == [1, digest()]
