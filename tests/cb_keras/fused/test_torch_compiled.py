"""The op on PyTorch under torch.compile and DistributedDataParallel."""

import json
import textwrap
import weakref

import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras.cases import CLASSES
from tests.cb_keras.gradients import BACKEND
from tests.fused_library import run_python

if BACKEND != "torch":
    pytest.skip("of the op on PyTorch", allow_module_level=True)

import torch

from cb_keras.fused.doors import torch_compiled
from tests.cb_keras.torch_compiler import keras_itself_is_followed

pytestmark = pytest.mark.usefixtures("fused_op")

NUMBER = 1000


def batch(rows, form="ids"):
    generator = torch.Generator().manual_seed(rows)
    logits = torch.randn(rows, NUMBER, generator=generator, requires_grad=True)
    if form == "multi-hot":
        return torch.rand(rows, NUMBER, generator=generator).round(), logits
    return torch.randint(0, NUMBER, (rows,), generator=generator), logits


def compiled(function, **kwargs):
    """`function`, compiled in one graph, and the names of our ops in its graphs, from then on."""
    names = []

    def backend(graph, inputs):
        names.append([str(n.target) for n in graph.graph.nodes if "cb_keras" in str(n.target)])
        return graph.forward

    torch._dynamo.reset()
    from torch._dynamo.backends.common import aot_autograd

    return torch.compile(function, backend=aot_autograd(fw_compiler=backend), **kwargs), names


def need_keras_in_graphs():
    if not keras_itself_is_followed():  # PyTorch 2.6, or Keras 3.10
        pytest.skip("the compiler breaks its graph at Keras' own operations")


def assert_same(ours, theirs, labels, logits):
    found = [
        (f(labels, logits), *torch.autograd.grad(f(labels, logits).sum(), logits))
        for f in (ours, theirs)
    ]
    for x, y in zip(*found, strict=True):
        torch.testing.assert_close(x, y, rtol=2e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("softmax", "ids"),
        ("focal", "ids"),
        ("sigmoid", "multi-hot"),
        ("softmax_focal", "multi-hot"),
    ],
)
def test_a_compiled_loss_is_one_graph_with_the_op_for_any_number_of_rows(kind, form):
    if form != "ids":
        need_keras_in_graphs()
    weights = np.linspace(0.1, 2, NUMBER)
    loss, formula = (CLASSES[kind](class_weights=weights, fused=way) for way in (True, False))
    function, names = compiled(lambda y, z: loss(y, z), fullgraph=True, dynamic=True)
    for rows in (32, 33, 50):
        assert_same(function, formula, *batch(rows, form))
    assert ("cb_keras.values_and_kept.default",) in {tuple(graph) for graph in names}
    assert len(names) <= 2  # a forward and a backward graph: no size is compiled again


@pytest.mark.slow
@pytest.mark.parametrize("rows", [4, 40])  # of few numbers and of many
def test_compiled_code_sees_new_class_weights_and_another_reduction(rows):
    loss = CLASSES["softmax"](class_weights=np.linspace(0.1, 2, NUMBER))
    labels, logits = batch(rows)
    function, _ = compiled(lambda y, z: loss(y, z), fullgraph=True)
    for change in (
        lambda: None,
        lambda: loss.class_weights.assign(np.linspace(2, 1, NUMBER)),
        lambda: setattr(loss, "reduction", "sum"),
    ):
        change()
        before = loss.fused
        loss.fused = False
        right = loss(labels, logits).detach()
        loss.fused = before
        torch.testing.assert_close(function(labels, logits).detach(), right)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_compiled_gradient_of_16_bits_is_rounded_once(dtype):
    loss = CLASSES["softmax"](class_weights=np.linspace(0.1, 2, NUMBER), reduction="sum")
    labels, logits = batch(40)
    logits = logits.detach().to(getattr(torch, dtype)).requires_grad_()
    wide = logits.detach().double().requires_grad_()
    right = (3.7 * torch.nn.functional.cross_entropy(wide, labels, reduction="none")).mul(
        torch.linspace(0.1, 2, NUMBER, dtype=torch.float64)[labels]
    )
    right.sum().backward()
    function, names = compiled(lambda y, z: 3.7 * loss(y, z), fullgraph=True)
    function(labels, logits).backward()
    backward = {"bfloat16": "kept_slope", "float16": "kernel_slope"}[dtype]
    assert (f"cb_keras.{backward}.default",) in {tuple(graph) for graph in names}
    unit = {"bfloat16": 2**-8, "float16": 2**-11}[dtype]
    np.testing.assert_allclose(
        logits.grad.double(), wide.grad, rtol=unit + 2e-5, atol=2**-25 + 1e-7
    )


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["softmax", "focal", "sigmoid", "softmax_focal"])
def test_compiled_code_of_few_numbers_keeps_one_tensor_for_the_gradient_of_eager_code(kind, dtype):
    weights = np.linspace(0.1, 2, NUMBER)
    weights[0] = 0
    loss = CLASSES[kind](class_weights=weights)
    labels, logits = batch(4)
    labels[:2] = torch.tensor([0, NUMBER])  # one that does not count, one that is no class
    with torch.no_grad():
        logits[0, 1] = torch.inf
    logits = logits.detach().to(getattr(torch, dtype)).requires_grad_()
    function, _ = compiled(lambda y, z: loss(y, z), fullgraph=True)
    right = CLASSES[kind](class_weights=weights, fused=False)
    with torch._functorch.config.patch(donated_buffer=False):
        ours = function(labels, logits)
    slopes = [
        torch.autograd.grad(f, logits, 3 * torch.ones(()), retain_graph=True)[0].double()
        for f in (ours, ours, torch.compile(right, backend="eager")(labels, logits))
    ]
    assert torch.isnan(ours)
    assert torch.isnan(slopes[2]).any(1).tolist() == [False, True, False, False]
    assert not slopes[0][0].any()
    unit = {"float32": 1e-5, "bfloat16": 2**-7}[dtype]
    for slope in slopes[:2]:
        torch.testing.assert_close(slope, slopes[2], rtol=unit, atol=1e-9, equal_nan=True)


def test_a_kept_gradient_is_given_away_once_and_only_under_its_own_name():
    labels, logits = batch(40)
    logits = logits.detach()
    weights = torch.linspace(0.1, 2, NUMBER)
    inputs, fixed = (logits, labels, weights), ("softmax", 0.0, 0.0, None, 0, True)
    ops = torch.ops.cb_keras

    def slope(name, factor):
        return ops.kept_slope(*inputs, torch.full((40,), factor), name, *fixed)

    right = ops.kernel_slope(*inputs, torch.full((40,), 1 / 40), *fixed)
    for first in (1 / 40, 3.0):
        _, name = ops.values_and_kept(*inputs, *fixed)
        copy = name.clone()
        torch.testing.assert_close(slope(copy, 1 / 40), right)  # as offloaded tensors are
        given = slope(name, first)
        torch.testing.assert_close(given, 40 * first * right)
        given.zero_()  # its owner may do so
        torch.testing.assert_close(slope(name, 1 / 40), right)
    gradient = torch_compiled._KEPT[name.data_ptr()].slope = torch.ones(1)
    gone = weakref.ref(gradient)
    del name, gradient
    assert gone() is None  # nobody asked for it


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_second_backward_pass_of_compiled_code_has_the_gradient_of_the_first(dtype):
    loss = CLASSES["focal"](class_weights=np.linspace(0.1, 2, NUMBER))
    labels, logits = batch(40)
    logits = logits.detach().to(getattr(torch, dtype)).requires_grad_()
    function, _ = compiled(lambda y, z: loss(y, z), fullgraph=True)
    with torch._functorch.config.patch(donated_buffer=False):  # else PyTorch refuses it
        found = function(labels, logits)
    first = torch.autograd.grad(found, logits, retain_graph=True)[0]
    before = first.clone()
    first.zero_()
    torch.testing.assert_close(torch.autograd.grad(found, logits)[0], before, rtol=0, atol=0)


@pytest.mark.slow
def test_losses_that_share_logits_have_gradients_of_their_own_in_inductors_code():
    losses = [
        CLASSES[kind](class_weights=np.linspace(0.1, 2, NUMBER)) for kind in ("softmax", "focal")
    ]

    def total(labels, logits):
        first, second = (loss(labels, logits) for loss in losses)
        return first + 3 * second + 5 * losses[0](labels, logits)

    torch._dynamo.reset()
    labels, logits = batch(40)
    function = torch.compile(total, fullgraph=True)
    for _ in range(2):
        ours = torch.autograd.grad(function(labels, logits), logits)[0]
        torch.testing.assert_close(
            ours, torch.autograd.grad(total(labels, logits), logits)[0], rtol=2e-5, atol=1e-8
        )
    assert not torch_compiled._KEPT


@pytest.mark.slow
def test_compiled_code_without_a_gradient_computes_none():
    loss = CLASSES["softmax"](class_weights=np.linspace(0.1, 2, NUMBER))
    labels, logits = batch(40)
    function, names = compiled(lambda y, z: loss(y, z), fullgraph=True)
    with torch.no_grad():
        found = function(labels, logits)
    assert names == [["cb_keras.values.default"]]
    torch.testing.assert_close(found, loss(labels, logits).detach())


@pytest.mark.slow
def test_second_derivatives_of_a_graph_that_pytorch_runs_as_it_is_are_those_of_the_formula():
    weights = np.linspace(0.1, 2, NUMBER)
    losses = [CLASSES["focal"](class_weights=weights, fused=way) for way in (True, False)]
    torch._dynamo.reset()
    function = torch.compile(lambda y, z: losses[0](y, z), backend="eager", fullgraph=True)
    labels, logits = batch(40)
    found = []
    for each in (function, losses[1]):
        slope = torch.autograd.grad(each(labels, logits), logits, create_graph=True)[0]
        found.append(torch.autograd.grad((1e3 * slope).square().sum(), logits)[0])
    assert found[1].abs().max() > 1e-3
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_compiled_code_of_few_numbers_or_of_derivatives_by_others_is_pytorchs_own():
    need_keras_in_graphs()
    weights = torch.ones(NUMBER, requires_grad=True)
    form = fused.Form("focal")

    def losses(labels, logits, weights):
        return fused.prepared(form, labels, logits, weights, 1.0, 1.0, True)

    function, names = compiled(losses, fullgraph=True)
    labels, logits = batch(4)
    torch.testing.assert_close(
        function(labels, logits, weights.detach()), losses(labels, logits, weights).detach()
    )
    labels, logits = batch(40)
    ours, theirs = (
        torch.autograd.grad(f(labels, logits, weights).sum(), weights)[0]
        for f in (function, losses)
    )
    torch.testing.assert_close(ours, theirs)
    assert not any(names)


@pytest.mark.slow
def test_compiled_derivatives_of_torch_func_are_those_of_eager_code():
    loss = CLASSES["softmax"](class_weights=np.linspace(0.1, 2, NUMBER), fused=True)
    labels, logits = batch(40)
    logits = logits.detach()
    per_example = torch.func.vmap(torch.func.grad(lambda z, y: loss(y[None], z[None])))
    for function in (per_example, lambda z, y: torch.func.jvp(lambda z: loss(y, z), (z,), (z,))[1]):
        torch._dynamo.reset()
        found = torch.compile(function, backend="aot_eager")(logits, labels)
        torch.testing.assert_close(found, function(logits, labels), rtol=1e-4, atol=1e-6)


_REPLICAS = """
    import json, os
    import numpy as np, torch
    import torch.multiprocessing as multiprocessing
    import cb_keras

    def gradient(ids, inputs, model):
        loss = cb_keras.losses.ClassBalancedFocalCrossentropy([90, 9, 1], fused=True)
        loss(ids, model(inputs)).backward()

    def data():
        generator = torch.Generator().manual_seed(0)
        model = torch.nn.Linear(4, 3, bias=False)
        with torch.no_grad():
            model.weight.copy_(torch.randn(3, 4, generator=generator))
        ids = torch.randint(0, 3, (8,), generator=generator)
        return ids, torch.randn(8, 4, generator=generator), model

    def replica(rank, folder):
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
        )
        ids, inputs, model = data()
        model = torch.nn.parallel.DistributedDataParallel(model)
        gradient(ids[rank::2], inputs[rank::2], model)
        if rank == 0:
            np.save(f"{folder}/found.npy", model.module.weight.grad.numpy())
        torch.distributed.barrier()  # a group that is left while the other still sends may hang
        del model
        torch.distributed.destroy_process_group()

    if __name__ == "__main__":
        folder = os.getcwd()
        multiprocessing.spawn(replica, (folder,), 2)
        ids, inputs, model = data()
        gradient(ids, inputs, model)
        print(json.dumps([np.load(f"{folder}/found.npy").tolist(), model.weight.grad.tolist()]))
"""


@pytest.mark.slow
def test_two_processes_have_the_gradient_of_one(tmp_path):
    script = tmp_path / "replicas.py"
    script.write_text(textwrap.dedent(_REPLICAS))
    process = run_python(script, folder=tmp_path, GLOO_SOCKET_IFNAME="lo")
    assert process.returncode == 0, process.stderr
    found, right = json.loads(process.stdout.splitlines()[-1])
    np.testing.assert_allclose(found, right, rtol=1e-5, atol=1e-7)
