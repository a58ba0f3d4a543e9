"""Memory and threads of the op on PyTorch: gradients that stay apart, and processes that fork."""

import textwrap

import pytest

from tests.cb_keras.cases import CLASSES
from tests.cb_keras.gradients import BACKEND
from tests.fused_library import run_python

if BACKEND != "torch":
    pytest.skip("of the op on PyTorch", allow_module_level=True)

import torch

from cb_keras.fused.doors import torch_memory, torch_threads

pytestmark = pytest.mark.usefixtures("fused_op")

LARGE = torch_memory.LEAST
CLASSES_OF_LARGE = 1000
MEBI = 2**20


@pytest.fixture(autouse=True)
def _nothing_was_in_use(monkeypatch):
    monkeypatch.delenv("CB_KERAS_THREADS", raising=False)
    monkeypatch.setattr(torch_memory, "_most", 0.0)
    torch_memory._unused.clear()
    torch_threads._team.cache_clear()
    yield
    torch_memory._unused.clear()
    torch_threads._team.cache_clear()


def gradient(rows, seed=0):
    """Of a loss, and the same by PyTorch."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, CLASSES_OF_LARGE, generator=generator, requires_grad=True)
    labels = torch.randint(0, CLASSES_OF_LARGE, (rows,), generator=generator)
    loss = CLASSES["softmax"](class_weights=[1.0] * CLASSES_OF_LARGE, fused=True)
    right = torch.nn.functional.cross_entropy(logits, labels)
    return (torch.autograd.grad(f, logits)[0] for f in (loss(labels, logits), right))


def of_mebibytes(number):
    return torch_memory.empty_like(torch.empty(number * MEBI // 4))


def unused_mebibytes():
    return [len(block) // MEBI for block in torch_memory._unused]


def test_a_gradient_has_the_memory_of_one_that_is_no_more_and_of_no_other():
    rows = LARGE // CLASSES_OF_LARGE + 1
    alive = [gradient(rows, seed) for seed in range(3)]
    alive = [(ours, theirs, ours.data_ptr()) for ours, theirs in alive]
    places = {place for *_, place in alive}
    assert len(places) == 3
    for ours, theirs, _ in alive:
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-9)
    view = alive.pop()[0][-1]  # holds the memory of all of it
    held = view.clone()
    del alive, ours, theirs
    again = [torch_memory.empty_like(torch.empty(LARGE + 1000)).zero_() for _ in range(3)]
    assert len({tensor.data_ptr() for tensor in again} & places) == 2
    torch.testing.assert_close(view, held, rtol=0, atol=0)


def test_a_gradient_can_be_written_into():
    ours, theirs = gradient(LARGE // CLASSES_OF_LARGE + 1)
    factor = torch.tensor(2.0, requires_grad=True)
    assert not ours._is_view()
    torch.testing.assert_close(ours.detach_().mul_(factor), theirs * 2, rtol=2e-5, atol=1e-9)


def test_memory_is_used_again_where_it_fits_and_no_more_is_held_than_twice_what_was_in_use():
    for _ in range(3):  # sizes that alternate
        large = of_mebibytes(64)
        del large
        small = of_mebibytes(4)
        del small
        assert sorted(unused_mebibytes()) == [4, 64]
    for size in range(64, 96, 2):  # that grow
        tensor = of_mebibytes(size)
        del tensor
    assert sum(unused_mebibytes()) <= 2 * 96
    assert torch_memory.empty_like(torch.empty(LARGE - 1)).shape == (LARGE - 1,)  # PyTorch's own


def test_memory_of_a_burst_is_returned_when_it_was_long_ago():
    burst = [of_mebibytes(4) for _ in range(20)]
    del burst
    for _ in range(100):
        tensor = of_mebibytes(4)
        del tensor
    assert sum(unused_mebibytes()) <= 8


def test_where_the_system_has_none_pytorch_is_asked(monkeypatch):
    def none(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(torch_memory.mmap, "mmap", none)
    tensor = of_mebibytes(4)
    assert tensor.shape == (MEBI,)  # PyTorch has some left


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_tensor_is_dense_and_of_its_type(dtype):
    tensor = torch_memory.empty_like(torch.empty(LARGE, 3, dtype=dtype).T)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((3, LARGE), dtype, True)
    tensor.fill_(7)
    assert tensor.double().sum() == 21 * LARGE


def test_the_threads_are_pytorchs_and_as_many():
    if "OpenMP" not in torch.__config__.parallel_info().partition("backend:")[2]:
        pytest.skip("this PyTorch has no OpenMP")
    assert torch_threads.team().parallel_for is not None
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            assert torch_threads.team().pool._obj.threads == threads
            ours, theirs = gradient(3000)
            torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-9)
    finally:
        torch.set_num_threads(before)


def test_threads_that_the_core_is_given_are_its_own(monkeypatch):
    monkeypatch.setenv("CB_KERAS_THREADS", "2")
    team = torch_threads.team()
    assert (team.parallel_for, team.pool._obj.value) == (None, torch.get_num_threads())


def test_forked_processes_compute_by_threads_of_their_own_and_their_parent_goes_on(tmp_path):
    script = tmp_path / "forks.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal
        import numpy as np, torch
        import cb_keras

        torch.set_num_threads(2)
        logits = torch.randn(4000, 1000, requires_grad=True)
        logits.detach().exp().sum()  # starts the threads of OpenMP
        labels = torch.randint(0, 1000, (4000,))
        loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_weights=[1.0] * 1000)
        loss.fused = True

        def gradient():
            return torch.autograd.grad(loss(labels, logits), logits)[0].numpy()

        def in_child():
            reads, writes = os.pipe()
            child = os.fork()
            if child == 0:
                signal.alarm(100)  # one that waits for threads that it does not have is killed
                found = gradient()
                from cb_keras.fused.doors import torch_threads
                os.write(writes, np.float64(found).sum(0).tobytes())
                os._exit(0 if torch_threads.team().parallel_for is None else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            return np.frombuffer(os.read(reads, 8000))

        children = [in_child()]  # before the first loss
        right = np.float64(gradient()).sum(0)
        children.append(in_child())
        for found in (*children, np.float64(gradient()).sum(0)):
            np.testing.assert_array_equal(found, right)
        """)
    )
    process = run_python(script, folder=tmp_path)
    assert process.returncode == 0, process.stderr
