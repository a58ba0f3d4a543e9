"""The losses and their gradients in float64 numpy, written from the papers' equations.

`targets` are dense, `[N, C]`; SciPy's `log_softmax`, `expit` and `log_expit` do the special
functions. Cui et al. 2019 number the losses 7 (softmax), 9 (sigmoid) and 11 (focal). The class
weights are computed with mpmath's 60 digits.
"""

import numpy as np
import pytest
from scipy.special import expit, log_expit, log_softmax, softmax


def one_hot(class_ids, num_classes):
    return np.eye(num_classes)[np.asarray(class_ids, dtype="int64")]


def softmax_loss(z, targets):
    return -np.sum(targets * log_softmax(z, axis=-1), axis=-1)


def softmax_gradient(z, targets):
    return softmax(z, axis=-1) * targets.sum(-1, keepdims=True) - targets


def sigmoid_loss(z, targets):
    return -np.sum(targets * log_expit(z) + (1 - targets) * log_expit(-z), axis=-1)


def sigmoid_gradient(z, targets):
    return expit(z) - targets


def focal_loss(z, targets, gamma):
    positive = expit(-z) ** gamma * -log_expit(z)
    negative = expit(z) ** gamma * -log_expit(-z)
    return np.sum(targets * positive + (1 - targets) * negative, axis=-1)


def focal_gradient(z, targets, gamma):
    """d/dz (1-p)^gamma * -log p = (1-p)^gamma * (gamma p log p - (1-p)); negatives mirror it."""

    def slope(z):
        p, q = expit(z), expit(-z)
        return q**gamma * (gamma * p * log_expit(z) - q)

    return targets * slope(z) - (1 - targets) * slope(-z)


def softmax_focal_loss(z, targets, gamma):
    log_p = log_softmax(z, axis=-1)
    return -np.sum(targets * (-np.expm1(log_p)) ** gamma * log_p, axis=-1)


def softmax_focal_gradient(z, targets, gamma):
    """Of (1-p_c)^gamma * -log p_c by -log p_c, times the derivative of that."""
    log_p = log_softmax(z, axis=-1)
    p, q = np.exp(log_p), np.maximum(-np.expm1(log_p), 1e-300)
    slopes = targets * q**gamma * (1 - gamma * p * log_p / q)
    return p * slopes.sum(-1, keepdims=True) - slopes


def mixed(function, kind, z, labels, weights, **kwargs):
    """`loss` or `gradient` of dense labels under class weights `[C]`."""
    if kind.startswith("softmax"):
        return function(kind, z, labels * weights, **kwargs)
    return function(kind, z, labels, labels @ weights / labels.sum(-1), **kwargs)


def loss(kind, z, targets, weight=1.0, gamma=None):
    """Loss per example of `kind` "softmax", "sigmoid", "focal" or "softmax_focal"."""
    z, targets = np.asarray(z, "float64"), np.asarray(targets, "float64")
    if kind == "focal":
        return weight * focal_loss(z, targets, 1.0 if gamma is None else gamma)
    if kind == "softmax_focal":
        return weight * softmax_focal_loss(z, targets, 2.0 if gamma is None else gamma)
    return weight * {"softmax": softmax_loss, "sigmoid": sigmoid_loss}[kind](z, targets)


def gradient(kind, z, targets, weight=1.0, gamma=None):
    """Gradient of `loss` with respect to the logits."""
    z, targets = np.asarray(z, "float64"), np.asarray(targets, "float64")
    weight = np.asarray(weight)[..., None]
    if kind == "focal":
        return weight * focal_gradient(z, targets, 1.0 if gamma is None else gamma)
    if kind == "softmax_focal":
        return weight * softmax_focal_gradient(z, targets, 2.0 if gamma is None else gamma)
    return weight * {"softmax": softmax_gradient, "sigmoid": sigmoid_gradient}[kind](z, targets)


def exact_effective_number(count, beta):
    """(1 - beta^n) / (1 - beta) with 60 digits; beta is the float64 that the library is given."""
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        beta = mpmath.mpf(beta)
        return mpmath.mpf(count) if beta == 1 else (1 - beta**count) / (1 - beta)


def exact_weights(counts, beta, power):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        unscaled = [exact_effective_number(n, beta) ** -mpmath.mpf(power) for n in counts]
        total = mpmath.fsum(unscaled)
        return np.array([float(len(counts) * u / total) for u in unscaled])
