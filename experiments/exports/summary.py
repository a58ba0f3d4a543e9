"""The metrics of a trained model as lines of text, as every program prints them."""

from experiments.runs.figures import accuracy


def lines(metrics, class_counts, class_weights, class_names):
    """Per class the training images, the weight and the accuracy; then the means.

    Args:
        metrics: Content of `metrics.json`.
        class_counts: Training images per class `[C]`.
        class_weights: Weights of the loss `[C]`.
        class_names: List of C names.
    """
    width = max(5, *(len(name) for name in class_names))
    yield f"{'class':<{width}}  {'train images':>12}  {'weight':>8}  {'accuracy':>8}"
    accuracies = metrics["per_class_accuracy"]
    for row in zip(class_names, class_counts, class_weights, accuracies, strict=True):
        name, count, weight, of_class = row
        yield f"{name:<{width}}  {count:>12}  {weight:>8.4f}  {accuracy(of_class):>8}"
    yield ""
    for name in ("accuracy", "balanced", "many", "medium", "few"):
        key = name if name == "accuracy" else f"{name}_accuracy"
        yield f"{key.replace('_', ' '):<18} {accuracy(metrics[key]):>6}"
