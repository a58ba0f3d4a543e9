"""Text: which package a docstring is from.

The docstrings of some installed packages, which are of very different sizes, as bags of words; the
names of the packages are taken out.

    python examples/text_by_package.py
"""

import inspect
import pkgutil
import re
from importlib import import_module

import keras
import numpy as np
from sklearn.model_selection import train_test_split

import cb_keras

PACKAGES = ["numpy", "sklearn", "scipy", "keras", "json", "email", "logging"]


def docstrings(package):
    """Docstrings of the public functions and classes of a package, each once."""
    root = import_module(package)
    modules = [root]
    for found in pkgutil.iter_modules(root.__path__, f"{package}."):
        if not found.name.rpartition(".")[2].startswith(("_", "test", "conftest", "setup")):
            try:
                modules.append(import_module(found.name))
            except ImportError:  # a part that needs something else
                continue
    texts = {}
    for module in modules:
        for name, member in vars(module).items():
            if name.startswith("_") or not (inspect.isclass(member) or callable(member)):
                continue
            if str(getattr(member, "__module__", "")).partition(".")[0] == package:
                texts[inspect.getdoc(member)] = None
    forbidden = re.compile("|".join(PACKAGES), re.IGNORECASE)
    return [forbidden.sub(" ", text) for text in texts if text and len(text) > 30]


texts, labels = [], []
for class_id, package in enumerate(PACKAGES):
    found = docstrings(package)
    texts += found
    labels += [class_id] * len(found)
labels = np.array(labels)
texts, test_texts, labels, test_labels = train_test_split(
    texts, labels, test_size=0.4, stratify=labels, random_state=0
)
class_counts = cb_keras.class_counts(labels, num_classes=len(PACKAGES))
print(", ".join(f"{name} {n}" for name, n in zip(PACKAGES, class_counts, strict=True)))

words = keras.layers.TextVectorization(max_tokens=4000, output_mode="tf_idf")
words.adapt(texts)
rows, test_rows = np.asarray(words(texts)), np.asarray(words(test_texts))

for power in (0.0, 0.5, 1.0):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((rows.shape[1],)),
            keras.layers.Dense(64, "relu"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(len(PACKAGES)),
        ]
    )
    loss = cb_keras.losses.ClassBalancedSoftmaxCrossentropy(class_counts, power=power)
    metrics = [
        "accuracy",
        cb_keras.metrics.BalancedAccuracy(len(PACKAGES)),
        cb_keras.metrics.MacroF1(len(PACKAGES)),
    ]
    model.compile("adam", loss, metrics=metrics)
    model.fit(rows, labels, batch_size=64, epochs=10, verbose=0)
    figures = model.evaluate(test_rows, test_labels, return_dict=True, verbose=0)
    print(f"power {power}:", ", ".join(f"{n} {v:.3f}" for n, v in figures.items() if n != "loss"))
