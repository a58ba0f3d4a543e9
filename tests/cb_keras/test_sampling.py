"""Orders of an epoch: shares of the classes, equal turns, and nothing but the arguments in them."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import cb_keras
from cb_keras.sampling import epoch_order, progressive_order

LABELS = load_digits().target[
    cb_keras.choose_long_tail(load_digits().target, cb_keras.long_tailed_counts(10, 150, 0.02))
]
COUNTS = np.bincount(LABELS)


@pytest.mark.parametrize("power", [0.0, 0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("size", [None, 37, 5000])
def test_every_class_has_its_share_to_one_and_every_example_its_turn(power, size):
    shares = COUNTS ** (1 - power)
    wanted = (size or len(LABELS)) * shares / shares.sum()
    total = np.zeros(10)
    for epoch in range(40):
        order = epoch_order(LABELS, power, 3, epoch, size)
        assert len(order) == (size or len(LABELS))
        found = np.bincount(LABELS[order], minlength=10)
        assert (np.abs(found - wanted) < 1).all()
        turns = np.bincount(order, minlength=len(LABELS))
        for c in range(10):
            assert np.ptp(turns[c == LABELS]) <= 1
        total += found
    # Rounding favours no class: 40 epochs are within what 40 fair roundings give.
    assert (np.abs(total / 40 - wanted) < 0.35).all()


def test_power_zero_is_every_example_once_in_another_order_each_epoch():
    first, second = (epoch_order(LABELS, 0.0, 0, epoch) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(len(LABELS)))
    assert (first != second).any()
    assert (epoch_order(LABELS, 0.0, 1, 0) != first).any()


@pytest.mark.parametrize("size", [None, 5000])
def test_progressive_orders_go_from_every_example_once_to_balanced_classes(size):
    number = size or len(LABELS)
    for epoch in range(13):
        t = min(epoch / 10, 1)
        wanted = number * ((1 - t) * COUNTS / len(LABELS) + t / 10)  # Kang et al. 2020, equation 2
        order = progressive_order(LABELS, 3, epoch, epochs=11, size=size)
        assert len(order) == number
        assert (np.abs(np.bincount(LABELS[order]) - wanted) < 1).all()
    first = progressive_order(LABELS, 3, 0, epochs=11)
    assert sorted(first) == list(range(len(LABELS)))
    balanced = epoch_order(LABELS, 1.0, 3, 10, size)
    np.testing.assert_array_equal(progressive_order(LABELS, 3, 10, 11, size), balanced)
    single = progressive_order(LABELS, 3, 0, 1, size)
    np.testing.assert_array_equal(single, epoch_order(LABELS, 1.0, 3, 0, size))


def test_it_is_a_function_of_its_arguments():
    first = epoch_order(LABELS, 0.5, 7, 12)
    np.random.default_rng(0).random(100)
    np.testing.assert_array_equal(first, epoch_order(LABELS.astype("uint64"), 0.5, 7, 12))
    assert first[:6].tolist() == epoch_order(LABELS.tolist(), 0.5, 7, 12)[:6].tolist()


def test_labels_and_numbers_that_make_no_order_are_refused():
    for labels in ([], [0.5, 1.0], [[0, 1]], [-1, 0]):
        with pytest.raises(ValueError, match="`labels` must be class ids"):
            epoch_order(labels, 1.0, 0, 0)
    for name, value in {"seed": -1, "epoch": 0.5, "size": 0, "power": np.inf}.items():
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            epoch_order(LABELS, **{"power": 1.0, "seed": 0, "epoch": 0, name: value})
    with pytest.raises(ValueError, match="`epochs` must be"):
        progressive_order(LABELS, 0, 0, 0)
