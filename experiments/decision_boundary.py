"""How the power of the class-balanced term moves a decision boundary: one picture, one table.

    python -m experiments.decision_boundary --output=decision_boundary.png

Figure 1 of Park & Hwang 2022, made by training. scikit-learn's digits 8, 3 and 2 are cut to a long
tail and projected to two principal components, where they overlap. The same small network, from
the same initial weights and for the same number of full-batch steps, is trained with the powers 0,
0.5, 1 and 2. The test images are all those of the three digits that were not chosen for training.
The digits, the network and the steps were picked for a clear picture, not for a good score.
"""

import dataclasses
import importlib.util
import io
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf

import cb_keras
from cb_keras.checks import check_gamma
from cb_keras.metrics import confusion_matrix, per_class_accuracy
from cb_keras.weights import check_beta
from experiments.cli import UserError
from experiments.record import write_atomically
from experiments.scoring import make_loss

DIGITS = (8, 3, 2)  # head to tail: neighbours in the projection
POWERS = {0: "none", 0.5: "square root", 1: "class-balanced", 2: "squared"}
NUM_SEEDS = 5  # splits and networks that the means are taken over; the first is drawn
STEPS = 500
_MAX_COUNT = 150  # of the 174 to 183 images of a digit: some are left to test on even untailed
_COLORS = ("#004488", "#DDAA33", "#BB5566")  # Tol's high-contrast scheme, safe for the colour-blind
_MARKERS = ("o", "^", "s")
_MARKER_SIZES = (14, 28, 90)
_FIGURES = ("tail recall", "head recall", "balanced accuracy")


@dataclasses.dataclass(frozen=True)
class Problem:
    """Points float32 `[N, 2]` and class ids `[N]`; class 0 is the head, the last one the tail."""

    train_points: np.ndarray
    train_labels: np.ndarray
    test_points: np.ndarray
    test_labels: np.ndarray

    @property
    def class_counts(self):
        """Training images per class `[C]`."""
        return np.bincount(self.train_labels, minlength=len(DIGITS))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network, the class weights it was trained with, and its recalls `[C]` on the test set."""

    model: keras.Model
    class_weights: np.ndarray
    recalls: np.ndarray

    @property
    def figures(self):
        """Recall of the tail, recall of the head, balanced accuracy."""
        return np.array([self.recalls[-1], self.recalls[0], self.recalls.mean()])


def check(settings):
    """Checks all settings before anything is trained.

    Raises:
        UserError: Lists every one that is out of range, contradicts another or can't be honoured.
    """
    problems = list(_problems(settings))
    if problems:
        raise UserError("\n  ".join(problems))


def load_problem(imbalance_factor, seed):
    """The digits in two dimensions, with a long tail that `seed` chooses.

    The projection (PCA, scaled to unit variance) is fitted on the training images alone.
    """
    from sklearn.datasets import load_digits
    from sklearn.decomposition import PCA

    data = load_digits()
    kept = np.isin(data.target, DIGITS)
    images = data.data[kept]
    labels = np.array([DIGITS.index(digit) for digit in data.target[kept]])
    chosen = cb_keras.choose_long_tail(labels, _class_counts(imbalance_factor), seed)
    others = np.setdiff1d(np.arange(labels.size), chosen)
    projection = PCA(n_components=2, whiten=True, svd_solver="full").fit(images[chosen])
    points = projection.transform(images).astype("float32")
    return Problem(points[chosen], labels[chosen], points[others], labels[others])


def train(problem, settings, power, seed, steps=STEPS):
    """Trains the network on all training points at once, so that there is no order to them.

    Args:
        problem: `Problem`.
        settings: Mapping with `loss`, `cb_beta` and `gamma`.
        power: Power of the class-balanced term.
        seed: Seed of the initial weights.
        steps: Steps of gradient descent.

    Returns:
        `Trained`.
    """
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(8, activation="tanh")
    model = keras.Sequential([keras.Input((2,)), hidden, keras.layers.Dense(len(DIGITS))])
    loss = make_loss({**settings, "cb_power": power}, problem.class_counts)
    optimizer = keras.optimizers.SGD(learning_rate=0.1, momentum=0.9)
    model.compile(optimizer, loss, steps_per_execution=25, jit_compile=False)
    points = tf.data.Dataset.from_tensors((problem.train_points, problem.train_labels))
    model.fit(points.repeat(steps), shuffle=False, verbose=0)
    predictions = _logits(model, problem.test_points).argmax(axis=-1)
    confusion = confusion_matrix(problem.test_labels, predictions, len(DIGITS))
    return Trained(model, loss.class_weights.numpy(), np.array(per_class_accuracy(confusion)))


def train_all(settings, num_seeds=NUM_SEEDS, steps=STEPS):
    """Trains with every power on `num_seeds` splits, the first of them by `settings["seed"]`.

    Returns:
        The first `Problem`, and a dict of power to its `num_seeds` `Trained`.
    """
    seeds = range(settings["seed"], settings["seed"] + num_seeds)
    problems = [load_problem(settings["imbalance_factor"], seed) for seed in seeds]
    runs = {
        power: [
            train(problem, settings, power, seed, steps)
            for problem, seed in zip(problems, seeds, strict=True)
        ]
        for power in POWERS
    }
    return problems[0], runs


def table(problem, runs, settings):
    """Lines of text: the problem, then per power the class weights and the three figures."""
    digits = ", ".join(map(str, DIGITS))
    yield _description(settings)
    for name, labels in (("training", problem.train_labels), ("test", problem.test_labels)):
        yield f"{', '.join(map(str, np.bincount(labels)))} {name} images of the digits {digits}"
    yield f"seed {settings['seed']}, then mean ± sd of {len(runs[0])} seeds from it on"
    yield ""
    heads = "  ".join(f"{name:<17}" for name in _FIGURES)
    yield f"{'power':<18}  {f'weights of {digits}':<20}  {heads}".rstrip()
    for power, trained in runs.items():
        weights = " ".join(f"{weight:.4f}" for weight in trained[0].class_weights)
        cells = "  ".join(f"{first:.2f}  {m:.2f} ± {sd:.2f}" for first, m, sd in _figures(trained))
        yield f"{f'{power} ({POWERS[power]})':<18}  {weights:<20}  {cells}"


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
        f"{_description(settings)}, seed {settings['seed']}: {counts} training images of {digits}"
    )
    return figure


def _problems(s):
    checks = {"cb_beta": check_beta, "gamma": check_gamma, "imbalance_factor": _class_counts}
    for name, check_value in checks.items():
        try:
            check_value(s[name])
        except ValueError as error:
            yield f"--{name}: {error}"
    if s["loss"] != "focal" and s["gamma"] != 1.0:
        yield f"--gamma={s['gamma']} has no effect on --loss={s['loss']}; it belongs to focal."
    if not 0 <= s["seed"] < 2**31:
        yield f"--seed must be in [0, 2^31), got {s['seed']}."
    yield from _output_problems(pathlib.Path(s["output"]))
    if importlib.util.find_spec("matplotlib") is None:
        yield "the picture needs matplotlib: pip install 'cb_keras[plots]'"


def _output_problems(output):
    if output.suffix.lower() != ".png":
        yield f"--output={output} must end in .png, which is what is written."
        return
    try:
        if output.is_dir():
            yield f"--output={output} is a folder; name a file."
        else:
            tempfile.TemporaryFile(dir=output.parent).close()
    except OSError as error:
        reason = f"{output.parent}: {error.strerror}"
        yield f"--output={output} can't be written ({reason}); choose another folder."


def _class_counts(imbalance_factor):
    return cb_keras.long_tailed_counts(len(DIGITS), _MAX_COUNT, imbalance_factor)


def _logits(model, points):
    return keras.ops.convert_to_numpy(model(points))


def _description(settings):
    gamma = f" (gamma {settings['gamma']:g})" if settings["loss"] == "focal" else ""
    return (
        f"scikit-learn's digits in two dimensions, {settings['loss']} loss{gamma}, "
        f"beta {settings['cb_beta']:g}"
    )


def _figures(trained):
    """Three times (first seed, mean, standard deviation): tail recall, head recall, balanced."""
    figures = np.array([t.figures for t in trained])
    return zip(figures[0], figures.mean(axis=0), figures.std(axis=0), strict=True)


def _caption(trained):
    lines = [f"{'on test images':<17}  drawn  {len(trained)} seeds"]
    for name, (first, mean, deviation) in zip(_FIGURES, _figures(trained), strict=True):
        lines.append(f"{name:<17}  {first:.2f}   {mean:.2f} ± {deviation:.2f}")
    return "\n".join(lines)


def _draw_regions(axes, problem, model):
    from matplotlib.colors import ListedColormap

    points = np.concatenate([problem.train_points, problem.test_points])
    low, high = points.min(axis=0) - 0.2, points.max(axis=0) + 0.2
    x, y = np.meshgrid(*np.linspace(low, high, 400, dtype="float32").T)
    logits = _logits(model, np.stack([x, y], axis=-1).reshape(-1, 2)).reshape(*x.shape, -1)
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


def main(argv):
    """Trains, prints the table and writes the picture."""
    del argv
    from absl import flags

    names = ("loss", "cb_beta", "gamma", "imbalance_factor", "seed", "output")
    settings = {name: flags.FLAGS[name].value for name in names}
    check(settings)
    problem, runs = train_all(settings)
    for line in table(problem, runs, settings):
        print(line)
    picture = io.BytesIO()
    draw(problem, runs, settings).savefig(picture, format="png", dpi=120)
    write_atomically(settings["output"], picture.getvalue())
    print(f"\npicture: {settings['output']}")


if __name__ == "__main__":
    from absl import flags

    from experiments import cli

    flags.DEFINE_enum("loss", "focal", ["softmax", "sigmoid", "focal"], "Loss.")
    flags.DEFINE_float("cb_beta", 0.9999, "Beta of the effective number, in [0, 1].")
    flags.DEFINE_float("gamma", 1.0, "Focusing parameter of the focal loss, >= 0.")
    flags.DEFINE_float(
        "imbalance_factor", 0.02, "Smallest / largest class size, in (0, 1]; 1: balanced."
    )
    flags.DEFINE_integer("seed", 0, "First of the seeds of the split and of the network.")
    flags.DEFINE_string("output", "decision_boundary.png", "Picture to write, a .png file.")
    cli.run(main)
