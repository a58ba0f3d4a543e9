"""The contenders of benchmarks.frameworks on PyTorch."""

import torch

from benchmarks.losses import LOSSES


def has_gpu():
    return torch.cuda.is_available()


def start(cores):
    """Settings of the process, before anything is computed."""
    torch.set_num_threads(cores)


def arrays(problem):
    """Labels, logits and weights where they are computed with."""
    device = "cuda" if has_gpu() else "cpu"
    logits = problem.logits
    dtype = getattr(torch, logits.dtype.name)
    tensors = [torch.from_numpy(array) for array in (problem.labels, problem.weights)]
    labels, weights = (tensor.to(device) for tensor in tensors)
    return labels, torch.from_numpy(logits.astype("float32")).to(dtype).to(device), weights


def step(tensors, mode, mean_loss):
    """Function without arguments that returns the loss and its gradient."""
    logits = tensors[1]
    logits.requires_grad_()
    if mode == "compile":
        torch.compiler.reset()
        mean_loss = torch.compile(mean_loss, dynamic=False)

    def loss_and_gradient():
        loss = mean_loss(*tensors)
        return loss.detach(), torch.autograd.grad(loss, logits)[0]

    return loss_and_gradient


def composed(problem):
    """Mean loss in PyTorch's own functions."""
    losses = LOSSES[problem.loss].torch
    return lambda labels, logits, weights: (weights[labels] * losses(torch, labels, logits)).mean()


def copy(tensors):
    return tensors[1].detach().clone


def finish(result):
    """Waits until `result` is computed."""
    if has_gpu():
        torch.cuda.synchronize()
    return result
