"""Reliability diagrams: how often a prediction of some confidence is right."""

import numpy as np

from experiments.reporting import drawing
from experiments.reporting.pictures import series as of_series


def is_known(series):
    """Whether the runs kept their bins, all of the same kind; older ones did not."""
    kept = [run.metrics.get("reliability") for run in series.runs]
    return None not in kept and len({len(bins["images"]) for bins in kept}) == 1


def largest_share(series):
    """The largest share of the images that a bin of these series holds."""
    return max((float((c / c.sum()).max()) for c, *_ in map(pooled, series)), default=1.0)


def diagram(series, title="power", top=None, heading=None):
    """Accuracy of each bin of confidence, and below it the share of the images in the bin.

    Args:
        series: List of `Series`; the seeds of each are taken together.
        title: Of the legend.
        top: `largest_share` of all that is shown next to it; default: of these series.
        heading: Above it, where nothing else says what it shows.
    """
    figure, (above, below) = drawing.figure(
        4.3, 4.9, rows=2, sharex=True, gridspec_kw={"height_ratios": (3, 1)}
    )
    above.plot([0, 1], [0, 1], "--", color=drawing.GREY, linewidth=1)
    for one in series:
        count, confidence, accuracy = pooled(one)
        there, share = count > 0, count / count.sum()
        error = float((share * np.abs(accuracy - confidence))[there].sum())
        look = {"color": one.style.color, "linewidth": 1}
        above.plot(confidence[there], accuracy[there], **look)
        # The area of a mark is the share of its images: a bin of few says little.
        area = {"s": 12 + 220 * share[there], "marker": one.style.marker or "o", "alpha": 0.75}
        name = f"{one.label}: ECE {error:.3f}" if one.label else f"ECE {error:.3f}"
        above.scatter(
            confidence[there], accuracy[there], color=one.style.color, linewidths=0, **area
        )
        above.plot([], [], marker=area["marker"], label=name, **look)
        edges = np.linspace(0, 1, len(count) + 1)
        below.stairs(share, edges, color=one.style.color, linewidth=1.2)
    above.set_ylim(-0.03, 1.03)
    above.set_xlim(0, 1.03)
    above.set_ylabel("accuracy")
    below.set_ylabel("share of\nthe images")
    below.set_ylim(0, 1.05 * (top or largest_share(series)))
    below.set_xlabel("confidence, the largest probability")
    if heading:
        of_series.above(above)
        figure.suptitle(heading)
    else:
        of_series.legend(figure, above, title, columns=2)
    return figure


def pooled(one):
    """`(count, confidence, accuracy)` of the bins of all seeds together; NaN where one is empty."""
    kept = [run.metrics["reliability"] for run in one.runs]
    counts = np.array([bins["images"] for bins in kept], "float64")
    count = counts.sum(axis=0)

    def mean(name):
        values = np.array([[value or 0 for value in bins[name]] for bins in kept])
        gaps = np.full(len(count), np.nan)
        return np.divide((counts * values).sum(axis=0), count, out=gaps, where=count > 0)

    return count, mean("confidence"), mean("accuracy")
