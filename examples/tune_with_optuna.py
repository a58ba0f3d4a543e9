"""Power and beta chosen by Optuna, on held-out images, by balanced accuracy.

pip install optuna
python examples/tune_with_optuna.py
"""

import keras
import numpy as np
import optuna
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import cb_keras

digits = load_digits()
images = (digits.images[..., None] / 16).astype("float32")
train, test = np.arange(1200), np.arange(1200, len(images))  # the last writers
tail = cb_keras.long_tailed_counts(num_classes=10, max_count=110, imbalance_factor=0.05)
train = train[cb_keras.choose_long_tail(digits.target[train], tail, seed=0)]
# A fifth of each class is held out; the test images choose nothing.
train, held_out = train_test_split(
    train, test_size=0.2, stratify=digits.target[train], random_state=0
)
class_counts = cb_keras.class_counts(digits.target[train], num_classes=10)


def trained(power, beta, seed):
    """A model trained under these settings."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.Conv2D(32, 3, strides=2, activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_counts, beta=beta, power=power)
    model.compile("adam", loss, metrics=[cb_keras.metrics.BalancedAccuracy(10)])
    model.fit(images[train], digits.target[train], batch_size=64, epochs=15, verbose=0)
    return model


def balanced_accuracy(model, which):
    """Its mean recall on some of the images."""
    result = model.evaluate(images[which], digits.target[which], return_dict=True, verbose=0)
    return result["balanced_accuracy"]


def objective(trial):
    """The figure that Optuna makes large: a mean over seeds, since the held-out images are few."""
    power = trial.suggest_float("power", 0.0, 2.0)
    beta = 1 - trial.suggest_float("one_minus_beta", 1e-4, 1e-1, log=True)
    return np.mean([balanced_accuracy(trained(power, beta, seed), held_out) for seed in (0, 1)])


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
study.enqueue_trial({"power": 0.0, "one_minus_beta": 1e-4})  # the plain loss is a candidate too
study.optimize(objective, n_trials=8)
best = study.best_params
print(f"chosen: power {best['power']:.2f}, beta {1 - best['one_minus_beta']:.4f}")
for name, power, beta in (
    ("plain", 0.0, 0.9999),
    ("chosen", best["power"], 1 - best["one_minus_beta"]),
):
    figures = [balanced_accuracy(trained(power, beta, seed), test) for seed in (2, 3, 4)]
    print(f"{name}: balanced accuracy on the test images {np.mean(figures):.3f}")
