"""Our losses next to PyTorch and its packages balanced-loss and cbloss: agreement and differences.

Where the peers define the same loss, they are the independent source. Where they differ,
`reference.py` (float64, the paper's equations) or a number by hand says which one is right.
"""

from fractions import Fraction
from functools import partial

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

import cb_keras
from tests.cb_keras import reference
from tests.cb_keras.cases import CLASSES
from tests.cb_keras.gradients import BACKEND, value_and_gradient

if BACKEND == "jax":
    pytest.skip("the peers are shown on TensorFlow and PyTorch", allow_module_level=True)
torch = pytest.importorskip("torch")
balanced_loss = pytest.importorskip("balanced_loss")
cbloss = pytest.importorskip("cbloss.loss")

COUNTS = [5000, 300, 40, 3]
CONFIDENT = np.array([[-100.0, 0.5, 1.0]])  # the first logit is beyond the range of exp(-z)
unreduced_crossentropy = torch.nn.CrossEntropyLoss(reduction="none")


def balanced(loss_type, beta, gamma=2.0, counts=COUNTS):
    return balanced_loss.Loss(loss_type, beta, gamma, counts, class_balanced=True)


def weighted_by_cbloss(beta, counts=COUNTS):
    loss = cbloss.ClassBalancedLoss(counts, beta, len(counts), unreduced_crossentropy)
    loss.weights = loss.weights.cpu()  # it takes the GPU where there is one
    return loss


# name: kind and arguments of ours; what the peer's value is multiplied by; the peer, made from beta
AGREEMENTS = {
    "softmax of balanced-loss": ("softmax", {}, 1, partial(balanced, "cross_entropy")),
    "softmax of cbloss": ("softmax", {}, 1, weighted_by_cbloss),
    # The peer takes the mean over the C = 4 classes, ours (and the paper) the sum.
    "sigmoid of balanced-loss": ("sigmoid", {}, 4, partial(balanced, "binary_cross_entropy")),
} | {
    f"focal of balanced-loss, gamma {gamma}": (
        *("focal", {"gamma": gamma}, 1),
        partial(balanced, "focal_loss", gamma=gamma),
    )
    for gamma in (0.0, 0.5, 1.0, 2.0)
}


def theirs(loss, logits, labels):
    """Value and gradient of a PyTorch loss of float32 logits."""
    z = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    value = loss(z, torch.tensor(labels))
    value.backward()
    return value.item(), z.grad.numpy()


def ours(loss, logits, labels):
    return value_and_gradient(lambda z: loss(labels, z), logits)


def of_one_output(gamma):
    """The mean focal loss of one output; the classes refuse it, since it has nothing to balance."""

    def loss(y_true, y_pred):
        losses = cb_keras.functional.class_balanced_focal_crossentropy(y_true, y_pred, gamma=gamma)
        return keras.ops.mean(losses)

    return loss


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("beta", [0.0, 0.9999])
@pytest.mark.parametrize("name", AGREEMENTS)
def test_the_peer_of_the_same_definition_has_our_value_and_gradient(name, beta, rng):
    kind, kwargs, factor, peer = AGREEMENTS[name]
    logits, ids = rng.normal(0, 3, (64, 4)), rng.integers(0, 4, 64)
    value, gradient = ours(CLASSES[kind](COUNTS, beta, **kwargs), logits, ids)
    peer_value, peer_gradient = theirs(peer(beta), logits, ids)
    np.testing.assert_allclose(value, factor * peer_value, rtol=1e-5)
    np.testing.assert_allclose(gradient, factor * peer_gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_the_binary_focal_loss_of_cbloss_is_ours_of_one_output(gamma, rng):
    logits, labels = rng.normal(0, 3, 32), rng.integers(0, 2, 32).astype("float32")
    peer = cbloss.FocalLoss(num_classes=2, gamma=gamma)
    peer_value, peer_gradient = theirs(peer, logits, labels)
    value, gradient = ours(of_one_output(gamma), logits[:, None], labels[:, None])
    np.testing.assert_allclose(value, peer_value, rtol=1e-5)
    np.testing.assert_allclose(gradient[:, 0], peer_gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.999, 0.9999, 1 - 1e-9])
def test_the_weights_of_cbloss_from_integer_counts_are_ours(beta):
    expected = weighted_by_cbloss(beta).weights.numpy()
    np.testing.assert_allclose(cb_keras.class_balanced_weights(COUNTS, beta), expected, rtol=1e-6)


def exact_weights(counts, beta):
    """Cui et al. 2019, equation 4, in exact fractions; `E_n = n` in the limit beta = 1."""
    beta = Fraction(beta)
    inverse = [Fraction(1, n) if beta == 1 else (1 - beta) / (1 - beta**n) for n in counts]
    return [float(len(counts) * x / sum(inverse)) for x in inverse]


@pytest.mark.parametrize(
    ("dtype", "beta"),
    [
        ("int64", 1.0),  # 1 - 1e-17 is the same float64
        ("float32", 1 - 1e-9),  # NumPy takes beta into float32 too, where it rounds to 1
    ],
)
def test_where_beta_rounds_to_one_the_peers_give_nan_and_ours_the_limit(dtype, beta):
    counts = np.array([1, 20, 400], dtype)
    logits, ids = np.zeros((3, 3)), np.arange(3)
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.isnan(weighted_by_cbloss(beta, counts).weights.numpy()).all()
        assert np.isnan(theirs(balanced("focal_loss", beta, 2.0, counts), logits, ids)[0])
    expected = exact_weights([1, 20, 400], beta)
    np.testing.assert_allclose(cb_keras.class_balanced_weights(counts, beta), expected, rtol=1e-6)
    # The weights sum to C = 3, and so does the loss: each logit 0 costs log(2) / 4 at gamma 2.
    value, _ = ours(CLASSES["focal"](counts, beta, gamma=2.0), logits, ids)
    np.testing.assert_allclose(value, 3 * np.log(2) / 4, rtol=1e-6)


def test_from_float32_counts_the_weights_of_cbloss_lose_digits_that_ours_keep():
    counts = np.array([7, 33, 77, 777], "float32")
    expected = exact_weights([7, 33, 77, 777], 0.9999)
    error = np.abs(weighted_by_cbloss(0.9999, counts).weights.numpy() / expected - 1).max()
    assert error > 2e-5
    result = cb_keras.class_balanced_weights(counts, 0.9999)
    np.testing.assert_allclose(result, expected, rtol=1e-6)


def test_a_class_without_examples_makes_the_peers_nan_and_is_refused_by_ours():
    with np.errstate(divide="ignore", invalid="ignore"):
        assert np.isnan(weighted_by_cbloss(0.9999, [9, 4, 0]).weights.numpy()).any()
    with pytest.raises(ValueError, match="class 2 has 0"):
        cb_keras.class_balanced_weights([9, 4, 0], 0.9999)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_balanced_loss_forgets_a_label_with_logit_minus_100_and_ours_charges_100(gamma):
    peer = balanced_loss.Loss("focal_loss", fl_gamma=gamma)
    peer_value, peer_gradient = theirs(peer, CONFIDENT, [0])
    expected = reference.loss("focal", CONFIDENT, [[1, 0, 0]], gamma=gamma)
    assert expected > 100
    np.testing.assert_allclose(peer_value, expected - 100, rtol=1e-5)
    assert np.isnan(peer_gradient[0, 0])
    loss = CLASSES["focal"](class_weights=np.ones(3), gamma=gamma)
    value, gradient = ours(loss, CONFIDENT, np.array([0]))
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    slope = reference.gradient("focal", CONFIDENT, [[1, 0, 0]], gamma=gamma)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5)
    np.testing.assert_allclose(gradient[0, 0], -1, rtol=1e-6)


def test_a_rightly_rejected_class_makes_the_gradient_of_balanced_loss_nan_and_not_ours():
    peer_value, peer_gradient = theirs(balanced_loss.Loss("focal_loss"), CONFIDENT, [1])
    expected = reference.loss("focal", CONFIDENT, [[0, 1, 0]], gamma=2.0)
    np.testing.assert_allclose(peer_value, expected[0], rtol=1e-5)
    assert np.isnan(peer_gradient[0, 0])
    loss = CLASSES["focal"](class_weights=np.ones(3), gamma=2.0)
    _, gradient = ours(loss, CONFIDENT, np.array([1]))
    slope = reference.gradient("focal", CONFIDENT, [[0, 1, 0]], gamma=2.0)
    np.testing.assert_allclose(gradient, slope, rtol=1e-5, atol=1e-30)


def test_the_focal_loss_of_cbloss_is_of_the_softmax_and_ours_of_each_sigmoid():
    """Equation 11 of Cui et al. is of the sigmoid; at gamma 1, by hand, for label 0."""
    logits = np.array([[0, 0, np.log(2)]])  # softmax p = 1/4, 1/4, 1/2; sigmoid p = 1/2, 1/2, 2/3
    peer_value, _ = theirs(cbloss.FocalLoss(num_classes=3, gamma=1.0), logits, [0])
    np.testing.assert_allclose(peer_value, 3 / 4 * np.log(4), rtol=1e-6)
    by_hand = np.log(2) / 2 + np.log(2) / 2 + 2 / 3 * np.log(3)
    np.testing.assert_allclose(reference.loss("focal", logits, [[1, 0, 0]]), by_hand, rtol=1e-12)
    value, _ = ours(CLASSES["focal"](class_weights=np.ones(3)), logits, np.array([0]))
    np.testing.assert_allclose(value, by_hand, rtol=1e-6)


def test_a_certain_example_makes_the_gradient_of_cbloss_nan_at_gamma_below_one_and_not_ours():
    peer = cbloss.FocalLoss(num_classes=2, gamma=0.5)
    assert np.isnan(theirs(peer, [40.0], [1.0])[1]).all()
    expected = reference.gradient("focal", [[40.0]], [[1.0]], gamma=0.5)
    assert 0 > expected > -1e-20
    _, gradient = ours(of_one_output(0.5), np.array([[40.0]]), np.array([[1.0]]))
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)


def test_cross_entropy_of_pytorch_divides_class_ids_by_their_weights_and_ours_by_the_batch(rng):
    logits, ids = rng.normal(0, 3, (32, 4)), rng.integers(0, 4, 32)
    weights = cb_keras.class_balanced_weights(COUNTS)
    weight = weights[ids].astype("float64")
    total = (weight * -log_softmax(logits, axis=-1)[np.arange(32), ids]).sum()
    assert abs(weight.sum() / 32 - 1) > 0.05  # or the two could not be told apart
    peer = torch.nn.CrossEntropyLoss(weight=torch.tensor(weights))
    peer_value, peer_gradient = theirs(peer, logits, ids)
    np.testing.assert_allclose(peer_value, total / weight.sum(), rtol=1e-5)
    value, gradient = ours(CLASSES["softmax"](COUNTS), logits, ids)
    np.testing.assert_allclose(value, total / 32, rtol=1e-5)
    scaled = peer_gradient * weight.sum() / 32
    np.testing.assert_allclose(gradient, scaled, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("bad", [-100, -1, 4])
def test_a_label_that_is_not_a_class_stops_the_peers_and_ours(bad):
    logits, ids = np.zeros((3, 4)), np.array([0, bad, 3])
    for peer in (balanced("focal_loss", 0.9999), weighted_by_cbloss(0.9999)):
        with pytest.raises((IndexError, RuntimeError)):
            theirs(peer, logits, ids)
    for loss in CLASSES.values():
        with pytest.raises(ValueError, match=rf"`y_true` holds {bad} at position \[1\]"):
            loss(COUNTS, fused=False)(ids, logits)


def test_label_minus_100_is_silently_free_in_pytorch_and_refused_by_ours():
    ids, logits = np.array([-100, 1]), np.zeros((2, 4))
    z = torch.zeros((2, 4))
    peer = unreduced_crossentropy(z, torch.tensor(ids))
    np.testing.assert_allclose(peer.numpy(), [0, np.log(4)], rtol=1e-6)
    with pytest.raises(ValueError, match="ignore_class=-100"):
        CLASSES["softmax"](class_weights=np.ones(4), fused=False)(ids, logits)
