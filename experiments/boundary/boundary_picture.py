"""The picture of `experiments.decision_boundary`."""

import numpy as np

from experiments.boundary import boundary_training as training
from experiments.boundary.boundary_training import DIGITS, POWERS
from experiments.methods.class_balanced import CB_BETA, CB_NORMALIZE, CLASS_BALANCED
from experiments.reporting import drawing

FIGURES = ("tail recall", "head recall", "balanced accuracy")
_COLORS = ("#004488", "#DDAA33", "#BB5566")  # Tol's high-contrast scheme, safe for the colour-blind
_MARKERS = ("o", "^", "s")
_MARKER_SIZES = (14, 28, 90)


def png(problem, runs, settings, dpi=120):
    """The picture of `draw` as the bytes of a PNG file."""
    with drawing.own_settings():
        return drawing.png(draw(problem, runs, settings), dpi)


def draw(problem, runs, settings):
    """The picture: one panel a power with the regions and boundaries of the first seed."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(runs), sharex=True, sharey=True)
    for axes, (power, trained) in zip(panels, runs.items(), strict=True):
        _draw_regions(axes, problem, trained[0].model)
        _draw_points(axes, problem)
        axes.set_title(f"power {power} ({POWERS[power]})")
        caption = {"family": "monospace", "fontsize": 9, "multialignment": "left"}
        axes.set_xlabel(_caption(trained), **caption)
        axes.set_xticks([])
        axes.set_yticks([])
    panels[0].set_ylabel("second over first principal component")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    counts = " / ".join(map(str, problem.class_counts))
    digits = " / ".join(map(str, DIGITS))
    figure.suptitle(
        f"{description(settings)}, seed {settings['seed']}: {counts} training images of {digits}"
    )
    return figure


def description(settings):
    """Data, loss and beta in words."""
    loss = CLASS_BALANCED.loss(settings["loss"])
    own = ", ".join(f"{p.in_name} {p.value(settings):g}" for p in loss.parameters)
    scaled = CB_NORMALIZE.value(settings)
    return (
        f"scikit-learn's digits in two dimensions, {loss.name} loss{f' ({own})' if own else ''}, "
        f"{CB_BETA.in_name} {CB_BETA.value(settings):g}"
        f"{'' if scaled == CB_NORMALIZE.default else f', weights scaled by {scaled}'}"
    )


def figures(trained):
    """Three times (first seed, mean, standard deviation): tail recall, head recall, balanced."""
    figures = np.array([t.figures for t in trained])
    deviations = figures.std(axis=0, ddof=1) if len(trained) > 1 else np.zeros(3)
    return zip(figures[0], figures.mean(axis=0), deviations, strict=True)


def _caption(trained):
    lines = [f"{'on test images':<17}  drawn  {len(trained)} seeds"]
    for name, (first, mean, deviation) in zip(FIGURES, figures(trained), strict=True):
        lines.append(f"{name:<17}  {first:.2f}   {mean:.2f} ± {deviation:.2f}")
    return "\n".join(lines)


def _draw_regions(axes, problem, model):
    from matplotlib.colors import ListedColormap

    points = np.concatenate([problem.train_points, problem.test_points])
    low, high = points.min(axis=0) - 0.2, points.max(axis=0) + 0.2
    x, y = np.meshgrid(*np.linspace(low, high, 400, dtype="float32").T)
    logits = training.logits(model, np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(*x.shape, -1)
    axes.imshow(
        logits.argmax(axis=-1),
        cmap=ListedColormap(_COLORS),
        vmin=0,
        vmax=len(DIGITS) - 1,
        alpha=0.22,
        origin="lower",
        extent=(low[0], high[0], low[1], high[1]),
        aspect="auto",
    )
    for c in range(len(DIGITS)):
        # 0 where class c and the best of the others draw level, which is smooth on either side.
        margin = logits[..., c] - np.delete(logits, c, axis=-1).max(axis=-1)
        if margin.min() < 0 < margin.max():
            axes.contour(x, y, margin, levels=[0], colors="black", linewidths=1.2)


def _draw_points(axes, problem):
    for c, color in enumerate(_COLORS):
        test = problem.test_points[problem.test_labels == c]
        axes.scatter(*test.T, s=5, color=color, alpha=0.5, linewidths=0)
    places = ("head", *[""] * (len(DIGITS) - 2), "tail")
    for c, (digit, place) in enumerate(zip(DIGITS, places, strict=True)):
        axes.scatter(
            *problem.train_points[problem.train_labels == c].T,
            s=_MARKER_SIZES[c],
            color=_COLORS[c],
            marker=_MARKERS[c],
            edgecolors="black" if c else "white",
            linewidths=0.4 + 0.4 * c,
            label=f"digit {digit} ({place})" if place else f"digit {digit}",
        )
    axes.scatter([], [], s=5, color="0.4", label="small dots: test images")
