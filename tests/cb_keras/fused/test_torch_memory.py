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


@pytest.fixture(autouse=True)
def _nothing_is_kept(monkeypatch):
    torch_memory._unused.clear()
    yield
    torch_memory._unused.clear()


def gradient(rows, seed=0):
    """Of a loss, and the same by PyTorch."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, CLASSES_OF_LARGE, generator=generator, requires_grad=True)
    labels = torch.randint(0, CLASSES_OF_LARGE, (rows,), generator=generator)
    loss = CLASSES["softmax"](class_weights=[1.0] * CLASSES_OF_LARGE, fused=True)
    right = torch.nn.functional.cross_entropy(logits, labels)
    return (torch.autograd.grad(f, logits)[0] for f in (loss(labels, logits), right))


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
    again = [torch_memory.empty_like(torch.empty((LARGE + 1000,))).zero_() for _ in range(3)]
    assert len({tensor.data_ptr() for tensor in again} & places) == 2
    torch.testing.assert_close(view, held, rtol=0, atol=0)


def test_no_more_is_kept_than_was_in_use_and_small_tensors_are_pytorchs_own():
    def kept():
        return [len(block) for block in torch_memory._unused]

    del [torch_memory.empty_like(torch.empty((n,))) for n in (LARGE, 2 * LARGE)][:]
    assert sorted(kept()) == [2**21, 2**21]
    large = torch_memory.empty_like(torch.empty((64 * LARGE,)))  # fits nowhere: all is returned
    assert kept() == []
    del large
    assert kept() == [2**26]
    small = torch_memory.empty_like(torch.empty((LARGE,)))  # would hold much more than it needs
    assert kept() == []
    assert torch_memory.empty_like(torch.empty((LARGE - 1,))).shape == (LARGE - 1,)
    del small
    assert kept() == [2**21]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_tensor_is_dense_and_of_its_type(dtype):
    tensor = torch_memory.empty_like(torch.empty(LARGE, 3, dtype=dtype).T)
    assert (tensor.shape, tensor.dtype, tensor.is_contiguous()) == ((3, LARGE), dtype, True)
    tensor.fill_(7)
    assert tensor.double().sum() == 21 * LARGE


def test_the_threads_are_pytorchs_and_as_many():
    team = torch_threads.team()
    if "OpenMP" not in torch.__config__.parallel_info().partition("backend:")[2]:
        pytest.skip("this PyTorch has no OpenMP")
    assert team.parallel_for is not None
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
    torch_threads._team.cache_clear()
    team = torch_threads.team()
    torch_threads._team.cache_clear()
    assert (team.parallel_for, team.pool._obj.value) == (None, torch.get_num_threads())


def test_a_forked_process_computes_by_threads_of_its_own_and_its_parent_goes_on(tmp_path):
    script = tmp_path / "forks.py"
    script.write_text(
        textwrap.dedent("""
        import os, signal
        import numpy as np, torch
        import cb_keras
        from cb_keras.fused.doors import torch_threads

        torch.set_num_threads(2)
        logits = torch.randn(4000, 1000, requires_grad=True)
        labels = torch.randint(0, 1000, (4000,))
        loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_weights=[1.0] * 1000)
        loss.fused = True

        def gradient():
            return torch.autograd.grad(loss(labels, logits), logits)[0].numpy()

        before = gradient().copy()
        child = os.fork()
        if child == 0:
            signal.alarm(100)  # a child that waits for threads that it does not have is killed
            same = np.array_equal(gradient(), before)
            os._exit(0 if same and torch_threads.team().parallel_for is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert np.array_equal(gradient(), before)
        """)
    )
    process = run_python(script, folder=tmp_path)
    assert process.returncode == 0, process.stderr
