"""A table with few positives and a model with one output.

scikit-learn's breast cancer data, its malignant cases (the positives here) cut to one in twenty.

    python examples/imbalanced_table.py
"""

import keras
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

import cb_keras

table, benign = load_breast_cancer(return_X_y=True)
rows, test_rows, labels, test_labels = train_test_split(
    table, 1 - benign, test_size=0.5, stratify=benign, random_state=0
)

# The tail: 179 benign cases and 9 malignant ones. The test half stays as it is.
chosen = cb_keras.choose_long_tail(labels, [np.sum(labels == 0), 9], seed=0)
rows, labels = rows[chosen], labels[chosen]
mean, deviation = rows.mean(axis=0), rows.std(axis=0)
rows, test_rows = (rows - mean) / deviation, (test_rows - mean) / deviation

counts = cb_keras.binary_counts(labels)
print(f"{counts[0]} benign, {counts[1]} malignant")

for name, settings in {
    "plain": {"power": 0.0},
    "square root": {"power": 0.5},
    "class-balanced": {"power": 1.0},
    "class-balanced, focal": {"power": 1.0, "gamma": 2.0},
}.items():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((30,)), keras.layers.Dense(16, "relu"), keras.layers.Dense(1)]
    )
    model.compile(
        keras.optimizers.Adam(0.01),
        cb_keras.losses.ClassBalancedBinaryCrossentropy(counts, **settings),
        metrics=[cb_keras.metrics.BalancedAccuracy(2, threshold=0.0)],
    )
    model.fit(rows, labels, epochs=60, verbose=0)
    logits = model.predict(test_rows, verbose=0)[:, 0]
    recall = [np.mean((logits > 0)[test_labels == c] == c) for c in (0, 1)]
    print(
        f"{name}: recall of malignant {recall[1]:.3f}, of benign {recall[0]:.3f}, "
        f"balanced accuracy {np.mean(recall):.3f}, "
        f"average precision {average_precision_score(test_labels, logits):.3f}"
    )
