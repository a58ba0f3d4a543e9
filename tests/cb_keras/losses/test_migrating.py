"""Every row of docs/guide/migrating.md: another package's loss has the value of ours."""

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import expit
from sklearn.utils.class_weight import compute_class_weight

import cb_keras
from cb_keras import losses
from tests.cb_keras.gradients import BACKEND

if BACKEND == "jax":
    pytest.skip("the others are shown on TensorFlow and PyTorch", allow_module_level=True)
torch = pytest.importorskip("torch")

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(40, 3)).astype("float32")
IDS = RANDOM.choice(3, 40, p=[0.7, 0.2, 0.1])
ONE_HOT = np.eye(3, dtype="float32")[IDS]
SEVERAL = RANDOM.integers(0, 2, (40, 3)).astype("float32")
W = np.array([0.4, 1.0, 6.0], "float32")
A, G = 0.25, 2.0


def ours(loss, labels, logits=LOGITS, **options):
    return ops.convert_to_numpy(loss(labels, ops.convert_to_tensor(logits), **options))


def of_torch(loss, labels, logits=LOGITS):
    return loss(torch.tensor(logits), torch.tensor(labels)).numpy()


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6)


def test_torchs_weighted_crossentropy():
    each = of_torch(torch.nn.CrossEntropyLoss(torch.tensor(W), reduction="none"), IDS)
    loss = losses.ClassBalancedSoftmaxCrossentropy(class_weights=W, reduction="none")
    same(ours(loss, IDS), each)
    mean = of_torch(torch.nn.CrossEntropyLoss(torch.tensor(W)), IDS)
    loss = losses.ClassBalancedSoftmaxCrossentropy(
        class_weights=[1] * 3, reduction="mean_with_sample_weight"
    )
    same(ours(loss, IDS, sample_weight=W[IDS]), mean)


def test_torchs_weighted_crossentropy_of_smoothed_labels():
    e = 0.1
    theirs = torch.nn.CrossEntropyLoss(torch.tensor(W), reduction="none", label_smoothing=e)
    each = of_torch(theirs, IDS)
    loss = losses.ClassBalancedSoftmaxCrossentropy(class_weights=W, reduction="none")
    same(ours(loss, (1 - e) * ONE_HOT + e / 3), each)
    # By the weight of the example's class: Keras' own with sample weights.
    smoothed = keras.losses.CategoricalCrossentropy(True, label_smoothing=e, reduction="none")
    loss = losses.ClassBalancedSoftmaxCrossentropy(
        class_weights=W, label_smoothing=e, reduction="none"
    )
    same(ours(loss, IDS), ours(smoothed, ONE_HOT, sample_weight=W[IDS]))
    assert np.abs(ours(loss, IDS) - each).max() > 0.5


def test_balanced_weights_of_scikit_learn():
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=IDS)
    counts = np.bincount(IDS)
    same(cb_keras.class_balanced_weights(counts, beta=1, normalize="examples"), balanced)


def test_focal_losses_of_keras():
    theirs = keras.losses.CategoricalFocalCrossentropy(W.tolist(), G, True, reduction="none")
    loss = losses.ClassBalancedSoftmaxFocalCrossentropy(class_weights=W, gamma=G, reduction="none")
    same(ours(loss, IDS), ours(theirs, ONE_HOT))
    theirs = keras.losses.BinaryFocalCrossentropy(True, A, G, True)
    loss = losses.ClassBalancedBinaryCrossentropy(class_weights=[1 - A, A], gamma=G)
    same(ours(loss, SEVERAL[:, :1], LOGITS[:, :1]), ours(theirs, SEVERAL[:, :1], LOGITS[:, :1]))
    loss = losses.ClassBalancedBinaryCrossentropy(class_weights=[[1 - A, A]] * 3, gamma=G)
    same(ours(loss, SEVERAL), 3 * ours(theirs, SEVERAL))


def test_the_sigmoid_focal_loss_of_addons_and_torchvision():
    # Lin et al. 2017, eq. 5, of each label; Addons sums over the labels of an example.
    right = np.where(SEVERAL == 1, 1, -1) * LOGITS.astype("float64")
    alpha = np.where(SEVERAL == 1, A, 1 - A)
    each = -alpha * expit(-right) ** G * np.log(expit(right))
    loss = losses.ClassBalancedBinaryCrossentropy(
        class_weights=[[1 - A, A]] * 3, gamma=G, reduction="none"
    )
    same(ours(loss, SEVERAL), each.sum(axis=-1))


def test_positive_weights_of_torch():
    positive = torch.tensor([1.0, 2.0, 5.0])
    mean = of_torch(torch.nn.BCEWithLogitsLoss(pos_weight=positive), SEVERAL)
    loss = losses.ClassBalancedBinaryCrossentropy(class_weights=[[1, p] for p in positive.tolist()])
    same(ours(loss, SEVERAL), 3 * mean)
