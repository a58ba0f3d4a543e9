"""The network that PyTorch's training step is timed with is ours."""

import numpy as np
import pytest

import cb_keras
from benchmarks import resnet_step

torch = pytest.importorskip("torch")


@pytest.mark.slow
def test_the_network_in_pytorch_computes_what_ours_does():
    ours, theirs = cb_keras.resnet_cifar(), resnet_step.torch_network()
    given = [np.random.default_rng(1).normal(size=v.shape, scale=0.2) for v in ours.weights]
    given = [
        abs(a) if "variance" in v.path else a for a, v in zip(given, ours.weights, strict=True)
    ]
    ours.set_weights(given)
    convolutions = [m for m in theirs.modules() if isinstance(m, torch.nn.Conv2d)]
    norms = [m for m in theirs.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    kernels = [w for v, w in zip(ours.weights, given, strict=True) if w.ndim == 4]
    of = {n: [] for n in ("gamma", "beta", "moving_mean", "moving_variance")}
    for v, w in zip(ours.weights, given, strict=True):
        of.get(v.name, []).append(w)
    with torch.no_grad():
        for convolution, kernel in zip(convolutions, kernels, strict=True):
            convolution.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1)))
        for i, norm in enumerate(norms):
            for own, name in zip(
                (norm.weight, norm.bias, norm.running_mean, norm.running_var), of, strict=True
            ):
                own.copy_(torch.from_numpy(of[name][i]))
        theirs[-1].weight.copy_(torch.from_numpy(given[-2].T))
        theirs[-1].bias.copy_(torch.from_numpy(given[-1]))
        images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype("float32")
        found = theirs.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2)) / 128 - 1).numpy()
    expected = np.asarray(ours(images, training=False))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
