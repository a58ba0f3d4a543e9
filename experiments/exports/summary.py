"""The metrics of a trained model as lines of text, as every program prints them."""

from experiments.exports import bootstrap
from experiments.runs.figures import accuracy

# Columns of the classes after the accuracy, which is the recall; older runs do not have them.
_OF_CLASSES = {"precision": "per_class_precision", "F1": "per_class_f1", "AUC": "per_class_auc"}
_MOST_LINES, _ENDS = 200, 10  # of classes; of more, so many at each end
_MEANS = {"macro F1": "macro_f1", "AUC (one vs rest)": "auc", "ECE": "ece", "NLL": "nll"}


def lines(metrics, class_counts, class_weights, class_names):
    """Per class the training images, the weight and the figures; then the means.

    Args:
        metrics: Content of `metrics.json`.
        class_counts: Training images per class `[C]`.
        class_weights: Weights of the loss `[C]`.
        class_names: List of C names.
    """
    shown, left_out = _shown(class_counts)
    width = max(5, *(len(class_names[c]) for c in shown))
    added = {name: metrics[key] for name, key in _OF_CLASSES.items() if metrics.get(key)}
    support = metrics.get("support")
    heads = [f"{'accuracy' if not added else 'recall':>8}", *(f"{name:>9}" for name in added)]
    heads += [f"{'test images':>11}"] if support else []
    yield f"{'class':<{width}}  {'train images':>12}  {'weight':>8}  {'  '.join(heads)}"
    of_classes = list(zip(metrics["per_class_accuracy"], *added.values(), strict=True))
    rows = list(zip(class_names, class_counts, class_weights, of_classes, strict=True))
    for place, c in enumerate(shown):
        if left_out and place == _ENDS:
            yield f"... {left_out} classes of sizes in between"
        name, count, weight, (recall, *others) = rows[c]
        cells = [f"{accuracy(recall):>8}", *(f"{accuracy(value):>9}" for value in others)]
        cells += [f"{support[c]:>11}"] if support else []
        yield f"{name:<{width}}  {count:>12}  {weight:>8.4f}  {'  '.join(cells)}"
    yield ""
    yield from _means(metrics)


def _shown(class_counts):
    """Ids of the classes that have a line, and how many have none.

    All in their order; of very many the largest and then the smallest.
    """
    if len(class_counts) <= _MOST_LINES:
        return range(len(class_counts)), 0
    ranked = sorted(range(len(class_counts)), key=lambda c: -class_counts[c])
    return ranked[:_ENDS] + ranked[-_ENDS:], len(ranked) - 2 * _ENDS


def _means(metrics):
    """The figures that are one number, with their intervals where there are any."""
    keys = {"accuracy": "accuracy"}
    for name in ("balanced", "many", "medium", "few"):
        keys[f"{name} accuracy"] = f"{name}_accuracy"
    keys |= {name: key for name, key in _MEANS.items() if metrics.get(key) is not None}
    found = metrics.get("intervals") or {}
    for name, key in keys.items():
        line = f"{name:<18} {accuracy(metrics[key]):>6}"
        if of_figure := found.get(key):
            line += f"  [{', '.join(accuracy(end) for end in of_figure)}]"
        yield line
    if found:
        level = f"{100 * found['level']:g}%"
        few = bootstrap.too_few(metrics.get("support") or ())
        yield f"[ ]: {level} bootstrap intervals over the test images; no errors give no width{few}"
    if form := _FORMS.get(metrics.get("probabilities")):
        yield form


_FORMS = {
    "normalized_sigmoid": "AUC, ECE and NLL are of the sigmoid probabilities over their sum; "
    "--probabilities=raw of experiments.evaluate takes them as they are",
    "sigmoid": "AUC and ECE are of the raw sigmoid probabilities, which do not sum to 1: no NLL",
}
