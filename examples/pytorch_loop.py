"""A training loop of PyTorch, with its own model and optimizer, and a loss of this package.

KERAS_BACKEND=torch python examples/pytorch_loop.py
"""

import os

os.environ["KERAS_BACKEND"] = "torch"  # before Keras is imported

import numpy as np
import torch
from sklearn.datasets import load_digits

import cb_keras

digits = load_digits()
images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
labels = torch.tensor(digits.target)
tail = cb_keras.long_tailed_counts(num_classes=10, max_count=110, imbalance_factor=0.02)
chosen = cb_keras.choose_long_tail(digits.target[:1200], tail, seed=0)
data = torch.utils.data.TensorDataset(images[chosen], labels[chosen])
loader = torch.utils.data.DataLoader(data, batch_size=32)
class_counts = cb_keras.class_counts(loader, num_classes=10)  # reads the labels of its batches

for power in (0.0, 0.5):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 32, 3),
        torch.nn.ReLU(),
        torch.nn.Conv2d(32, 32, 3, stride=2),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(128, 10),
    )
    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_counts, power=power)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    shuffled = torch.utils.data.DataLoader(data, batch_size=32, shuffle=True)
    for _ in range(20):
        for batch, classes in shuffled:
            optimizer.zero_grad()
            loss(classes, model(batch)).backward()
            optimizer.step()
    with torch.no_grad():
        found = model(images[1200:]).argmax(-1).numpy()
    confusion = cb_keras.metrics.confusion_matrix(digits.target[1200:], found, 10)
    recall = cb_keras.metrics.per_class_accuracy(confusion)
    rare = recall[5:].mean()
    print(f"power {power}: mean recall {np.mean(recall):.3f}, of the rare half {rare:.3f}")
