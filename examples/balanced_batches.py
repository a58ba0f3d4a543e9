"""Batches in which rare classes come more often: the same orders in PyDataset, tf.data, DataLoader.

    python examples/balanced_batches.py

scikit-learn's digits with a long tail. Without class weights: who balances the batches should not
weight the classes as well.
"""

import keras
import numpy as np
import tensorflow as tf
import torch
from sklearn.datasets import load_digits

import cb_keras

EPOCHS, BATCH = 20, 32
digits = load_digits()
images = (digits.images[..., None] / 16).astype("float32")
test = np.arange(1200, len(images))  # the last writers
tail = cb_keras.long_tailed_counts(num_classes=10, max_count=110, imbalance_factor=0.05)
train = cb_keras.choose_long_tail(digits.target[:1200], tail, seed=0)
x, y = images[train], digits.target[train].astype("int32")


def order(epoch, power):
    """Positions of the examples of an epoch: power 0 every one once, 1 as many of each class."""
    return cb_keras.sampling.epoch_order(y, power, seed=0, epoch=epoch)


class Batches(keras.utils.PyDataset):
    """Keras' own data set, on any backend."""

    def __init__(self, power):
        super().__init__()
        self.power, self.epoch = power, -1
        self.order = order(0, power)  # for the batches that Keras looks at before the first epoch

    def __len__(self):
        return -(-len(self.order) // BATCH)

    def __getitem__(self, i):
        chosen = self.order[i * BATCH : (i + 1) * BATCH]
        return x[chosen], y[chosen]

    def on_epoch_begin(self):
        """Takes the order of this epoch; Keras calls `on_epoch_end` before the first one, too."""
        self.epoch += 1
        self.order = order(self.epoch, self.power)


def tf_data(power):
    """TensorFlow's pipeline: one order after the other."""

    def of_epoch(epoch):
        chosen = tf.numpy_function(lambda e: order(int(e), power), [epoch], tf.int64)
        chosen = tf.ensure_shape(chosen, [len(y)])
        return tf.data.Dataset.from_tensor_slices(chosen).batch(BATCH)

    every = tf.data.Dataset.range(EPOCHS).flat_map(of_epoch)
    return every.map(lambda chosen: (tf.gather(x, chosen), tf.gather(y, chosen)))


class Order(torch.utils.data.Sampler):
    """PyTorch's sampler, for `DataLoader(dataset, batch_size, sampler=Order(power))`."""

    def __init__(self, power):
        self.power, self.epoch = power, 0

    def __len__(self):
        return len(y)

    def __iter__(self):
        self.epoch += 1
        return iter(order(self.epoch - 1, self.power).tolist())


def trained(data, **steps):
    """Mean recall of the five rarest classes on images of other writers, trained on `data`."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data, epochs=EPOCHS, shuffle=False, verbose=0, **steps)
    found = model.predict(images[test], verbose=0).argmax(1)
    labels = digits.target[test]
    return np.mean([np.mean(found[labels == c] == c) for c in range(5, 10)])


steps = -(-len(y) // BATCH)
dataset = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y).long())
for power in (0.0, 0.5, 1.0):
    print(f"power {power}: recall of the rare half {trained(Batches(power)):.3f}")
same = trained(tf_data(1.0), steps_per_epoch=steps)
print(f"tf.data, power 1.0: recall of the rare half {same:.3f}")
loader = torch.utils.data.DataLoader(dataset, BATCH, sampler=Order(1.0))
first = np.concatenate([labels.numpy() for _, labels in loader])
print("DataLoader, power 1.0: the first epoch has", np.bincount(first).tolist())
