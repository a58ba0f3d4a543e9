"""How far confidence and accuracy agree: the bins of a reliability diagram and of the ECE."""

import numpy as np

BINS = 15


def reliability(labels, probabilities, bins=BINS):
    """Examples, mean confidence and accuracy of each bin of confidence.

    The confidence of an example is the largest of its probabilities. Bin i of B holds the examples
    with a confidence in (i / B, (i + 1) / B]; one of 0 is in the first.

    Args:
        labels: Class ids `[N]`.
        probabilities: `[N, C]`, in [0, 1]; of sigmoid and focal heads normalised to sum 1.
        bins: B.

    Returns:
        Dict of `bins`, and of `count`, `confidence` and `accuracy`, lists of B; the last two are
        None where a bin is empty. It is the `reliability` of `metrics.json`.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
    """
    labels, probabilities = np.asarray(labels), np.asarray(probabilities)
    confidence = probabilities.max(axis=1).astype("float64")
    right = probabilities.argmax(axis=1) == labels
    # The edges are compared, not computed from the confidence: 0.2 * 15 is 3 and a little.
    edges = np.arange(1, bins) / bins
    bin_of = np.searchsorted(edges, confidence, side="left")
    count = np.bincount(bin_of, minlength=bins)

    def means(values):
        sums = np.bincount(bin_of, weights=values, minlength=bins)
        return [float(s / n) if n else None for s, n in zip(sums, count, strict=True)]

    return {
        "bins": bins,
        "count": count.tolist(),
        "confidence": means(confidence),
        "accuracy": means(right),
    }


def expected_calibration_error(bins):
    """The mean over the examples of |accuracy - confidence| of their bin.

    Args:
        bins: What `reliability` returns.
    """
    gaps = [
        n * abs(accuracy - confidence)
        for n, accuracy, confidence in zip(
            bins["count"], bins["accuracy"], bins["confidence"], strict=True
        )
        if n
    ]
    return sum(gaps) / sum(bins["count"])
