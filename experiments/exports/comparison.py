"""Two models on the same test images: paired differences, and how sure they are."""

import math

import numpy as np

from experiments.exports import bootstrap, scores
from experiments.runs.figures import accuracy, counted

RESAMPLES = 2000
_NAMES = {
    **{"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy"},
    **{f"{group}_accuracy": f"{group} accuracy" for group in ("many", "medium", "few")},
    **{"macro_f1": "macro F1", "nll": "NLL", "ece": "ECE"},
}


def compare(a, b, groups, number=RESAMPLES, seed=bootstrap.SEED):
    """Differences B - A of two models' figures on the same test images.

    The interval of a difference is of both models' figures on the same resampled images, class by
    class (`bootstrap.resamples`).

    Args:
        a: `Predictions` of the first model, whose probabilities are a distribution.
        b: The same of the second, of the same images in the same order.
        groups: Dict of `"many"`, `"medium"`, `"few"` to lists of class ids, those of both models.
        number: Resamples.
        seed: Their seed.

    Returns:
        JSON-able dict of `test_images`, `support` (those of each class), `figures` (name to `a`,
        `b`, `difference`, `interval`), `mcnemar`, and what is recorded of the resamples.
    """
    num_classes = a.logits.shape[1]
    both = [answers.images for answers in (a, b)]

    def figures(images):
        return scores.figures(images, num_classes, groups)

    def differences(chosen):
        of_a, of_b = (figures(images.chosen(chosen)) for images in both)
        return {name: _difference(of_a[name], of_b[name]) for name in _NAMES if name in of_a}

    of_a, of_b = map(figures, both)
    sure = bootstrap.intervals(
        a.labels, differences, [n for n in _NAMES if n in of_a], number, seed
    )
    return {
        "test_images": len(a.labels),
        "support": np.bincount(a.labels, minlength=num_classes).tolist(),
        "figures": {
            name: {
                **{"a": of_a[name], "b": of_b[name]},
                **{"difference": _difference(of_a[name], of_b[name]), "interval": interval},
            }
            for name, interval in sure.items()
        },
        "mcnemar": mcnemar(*(images.labels == images.classes for images in both)),
        "intervals": bootstrap.about(number, seed),
    }


def _difference(a, b):
    return None if None in (a, b) else b - a


def mcnemar(a_right, b_right):
    """McNemar's exact test of two models that are right equally often on the same images.

    Of the n images that one model alone gets right, each is A's with probability 1/2:
    `p = min(1, 2 sum_{k <= min(A, B)} C(n, k) / 2^n)`.

    Args:
        a_right: Whether the first model is right, bool `[N]`.
        b_right: The same of the second.

    Returns:
        Dict of `both_right`, `a_alone`, `b_alone`, `neither` and `p_value`.
    """
    a_alone, b_alone = int((a_right & ~b_right).sum()), int((b_right & ~a_right).sum())
    return {
        "both_right": int((a_right & b_right).sum()),
        **{"a_alone": a_alone, "b_alone": b_alone},
        "neither": int((~a_right & ~b_right).sum()),
        "p_value": _binomial(min(a_alone, b_alone), a_alone + b_alone),
    }


def _binomial(fewer, number):
    """Two-sided p value of `fewer` heads of `number` fair coins, at most half of them."""
    # By logarithms: the numbers of ways have thousands of digits.
    logs = [
        math.lgamma(number + 1) - math.lgamma(k + 1) - math.lgamma(number - k + 1)
        for k in range(fewer + 1)
    ]
    return min(1.0, 2 * math.fsum(math.exp(way - number * math.log(2)) for way in logs))


def lines(found):
    """A table of the differences, with McNemar's test below it, as lines of text."""
    level = f"{100 * found['intervals']['level']:g}% interval"
    yield f"{'':<17}  {'A':>7}  {'B':>7}  {'B - A':>7}  {level}"
    for name, figure in found["figures"].items():
        cells = [f"{accuracy(figure[key]):>7}" for key in ("a", "b", "difference")]
        ends = "-" if figure["interval"] is None else ", ".join(map(accuracy, figure["interval"]))
        yield f"{_NAMES[name]:<17}  {'  '.join(cells)}  [{ends}]".replace("[-]", "-")
    test = found["mcnemar"]
    yield ""
    yield (
        f"both right {test['both_right']}, A alone {test['a_alone']}, B alone {test['b_alone']}, "
        f"neither {test['neither']}; McNemar's exact test: p = {test['p_value']:.3g}"
    )
    yield (
        f"intervals: {counted(found['intervals']['resamples'], 'resample')} of the test images, "
        f"each class by itself{bootstrap.too_few(found['support'])}"
    )
