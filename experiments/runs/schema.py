"""What `config.json` and `metrics.json` of a run must hold.

Written by hand: no library that is installed checks JSON, and most of what is checked here are
relations, such as figures that must follow from the confusion matrix.
"""

from experiments import backbones, methods
from experiments.runs import afterwards, recipe, sampling

CONFIG, METRICS, HISTORY = "config.json", "metrics.json", "history.csv"
SHOT_FIGURES = ("many_accuracy", "medium_accuracy", "few_accuracy")
_SHOT_GROUPS = {name.removesuffix("_accuracy") for name in SHOT_FIGURES}
_WITH_INTERVAL = ("accuracy", "balanced_accuracy", "macro_f1", "nll")
_RANGES = {1: "0 to 1", 1e300: "a number >= 0"}
# Classes beyond which a run keeps no confusion matrix, whose entries are their square.
LARGEST_MATRIX = 1000
_ROUNDING = 1e-6
_AS_WRITTEN = "as experiments.train writes it"


class DamagedError(Exception):
    """Why a run directory can't be used, in words for its user."""


def check_begun(config):
    """What even a run that was only begun, by any version, has recorded: its flags.

    Raises:
        DamagedError: They are not there.
    """
    _require(CONFIG, "flags", isinstance(config.get("flags"), dict))


def check_config(config):
    """Checks `config.json` and adds what older runs did not record: nothing, or null.

    A method or a loss that this version does not know is accepted: a report calls it by its name.

    Raises:
        DamagedError: Something is missing or wrong; says what.
    """
    check_begun(config)
    later = {p.name: p.default for p in methods.PARAMETERS.values() if not p.always_named}
    older = {**backbones.OLDER, **recipe.OLDER, "sampler": sampling.UNIFORM, **later}
    config["flags"] = {**older, **config["flags"]}
    _check_flags(config["flags"])
    for name, default in (("resolved", {}), ("versions", {}), ("shot_groups", {})):
        _require(CONFIG, name, isinstance(config.setdefault(name, default), dict))
    data = config.setdefault("data", None)
    _require(CONFIG, "data", data is None or isinstance(data, dict))
    sessions = config.setdefault("sessions", [])
    _require(CONFIG, "sessions", _are(dict, sessions))
    _check_classes(config)


def _check_flags(flags):
    for name in ("loss", "dataset"):
        _require(CONFIG, f"flags.{name}", isinstance(flags.get(name), str))
    for name in ("method", "backbone", "sampler"):
        _require(CONFIG, f"flags.{name}", isinstance(flags.get(name, ""), str))
    numbers = ("cb_power", "imbalance_factor", "seed", *_parameters(flags))
    for name in dict.fromkeys(numbers):
        _require(CONFIG, f"flags.{name}", _is_number(flags.get(name)))
    for name in (p.name for p in methods.PARAMETERS.values() if p.choices):
        _require(CONFIG, f"flags.{name}", isinstance(flags.get(name), str))


def _parameters(flags):
    """Names of the numbers that its method has; none where it is not one that we know."""
    try:
        return [p.name for p in methods.of(flags).parameters_of(flags) if not p.choices]
    except ValueError:
        return []


def _check_classes(config):
    counts, names = config.get("class_counts"), config.get("class_names")
    right = _are_numbers(counts, low=0) and len(counts) > 0 and all(n % 1 == 0 for n in counts)
    _require(CONFIG, "class_counts", right)
    one_each = "one for each of class_counts"
    right = _are_numbers(config.get("class_weights"), len(counts))
    _require(CONFIG, "class_weights", right, one_each)
    _require(CONFIG, "class_names", _are(str, names) and len(names) == len(counts), one_each)
    right = set(config["shot_groups"]) <= _SHOT_GROUPS and all(
        isinstance(ids, list) and all(type(c) is int and 0 <= c < len(counts) for c in ids)
        for ids in config["shot_groups"].values()
    )
    _require(CONFIG, "shot_groups", right)


def check_metrics(metrics, config):
    """Checks `metrics.json` and adds null for what older runs did not measure.

    It also adds `validation_balanced_accuracy`, that of `validation` or null, by which settings
    are chosen, and `validation_interval`, its bootstrap interval, and `validation_fewest`, the
    held-out images of the class that has the fewest; null where they are not known.

    Args:
        metrics: Its content, a dict.
        config: Of the same run, checked. The shot groups are those that it recorded: older runs
            cut them by older rules.

    Raises:
        DamagedError: Something is missing or wrong, or a figure does not follow from the confusion
            matrix or, where there is none, from the figures of the classes; says what.
    """
    _check_split(metrics, config)
    validation = metrics.get("validation")
    metrics["validation_balanced_accuracy"] = metrics["validation_interval"] = None
    metrics["validation_fewest"] = None
    if validation is not None:
        _require(METRICS, "validation", isinstance(validation, dict))
        try:
            _check_split(validation, config)
        except DamagedError as error:
            raise DamagedError(f"{error}, in `validation`") from error
        metrics["validation_balanced_accuracy"] = validation["balanced_accuracy"]
        found = validation["intervals"] or {}
        metrics["validation_interval"] = found.get("balanced_accuracy")
        metrics["validation_fewest"] = min(validation["support"])
    for name in ("epochs", "train_seconds"):
        _require(METRICS, name, _is_number(metrics.get(name), 0), "a number")
    value = metrics.setdefault("images_per_second", None)
    right = value is None or _is_number(value, 0)
    _require(METRICS, "images_per_second", right, "a number or null")


def check_posthoc(file, about):
    """Checks what the figures after something was done to a network say of it.

    Raises:
        DamagedError: Something is missing or wrong; says what.
    """
    _require(file, "posthoc", isinstance(about, dict))
    steps = about.get("steps")
    _require(file, "posthoc.steps", bool(steps) and _are(str, steps))
    for name in afterwards.NUMBERS:
        right = name not in about or _is_number(about[name], 0)
        _require(file, f"posthoc.{name}", right, "a number >= 0")
    _require(file, "posthoc.prior", "prior" not in about or _are_numbers(about["prior"], low=0))
    _require(file, "posthoc.chosen_by", isinstance(about.get("chosen_by", {}), dict))
    reached = about.get(afterwards.END_OF_RANGE, [])
    _require(file, f"posthoc.{afterwards.END_OF_RANGE}", _are(str, reached))


def _check_split(metrics, config):
    """Checks the figures of one split, and adds null for what older runs did not measure."""
    classes = len(config["class_counts"])
    measured = {n: ids for n, ids in config["shot_groups"].items() if f"{n}_accuracy" in metrics}
    for name in ("accuracy", "balanced_accuracy"):
        _require(METRICS, name, _is_number(metrics.get(name), 0, 1), "0 to 1")
    for name in SHOT_FIGURES:
        value = metrics.setdefault(name, None)
        _require(METRICS, name, value is None or _is_number(value, 0, 1), "0 to 1 or null")
    accuracies, confusion = metrics.get("per_class_accuracy"), metrics.get("confusion_matrix")
    right = isinstance(accuracies, list) and len(accuracies) == classes
    right = right and all(a is None or _is_number(a, 0, 1) for a in accuracies)
    _require(METRICS, "per_class_accuracy", right, f"{classes} of 0 to 1 or null")
    if classes > LARGEST_MATRIX and confusion is None:
        right = _are_numbers(metrics.get("support"), classes, low=0)
        _require(METRICS, "support", right, f"{classes} counts")
    else:
        right = isinstance(confusion, list) and len(confusion) == classes
        right = right and all(_are_numbers(row, classes, low=0) for row in confusion)
        _require(METRICS, "confusion_matrix", right, f"{classes} x {classes} counts")
    _check_figures(metrics, measured)
    _check_scores(metrics, classes)


def _check_scores(metrics, classes):
    """Checks what is measured since there are probabilities in it; older runs get null."""
    highest = {"macro_f1": 1, "auc": 1, "ece": 1, "nll": 1e300}
    for name, high in highest.items():
        value = metrics.setdefault(name, None)
        right = value is None or _is_number(value, 0, high)
        _require(METRICS, name, right, f"{_RANGES[high]} or null")
    for name in ("per_class_precision", "per_class_f1", "per_class_auc"):
        values = metrics.setdefault(name, None)
        right = values is None or (_are_shares(values) and len(values) == classes)
        _require(METRICS, name, right, f"{classes} of 0 to 1 or null")
    images, _ = by_class(metrics)
    right = metrics.setdefault("support", images) == images
    _require(METRICS, "support", right, "the images of each class in its confusion_matrix")
    form = metrics.setdefault("probabilities", None)
    _require(METRICS, "probabilities", form is None or isinstance(form, str), "a name or null")
    _check_reliability(metrics.setdefault("reliability", None))
    _check_intervals(metrics.setdefault("intervals", None))
    _check_macro_f1(metrics)


def _check_reliability(bins):
    if bins is None:
        return
    right = isinstance(bins, dict) and _are_numbers(bins.get("images"), low=0)
    right = right and all(
        _are_shares(bins.get(name)) and len(bins[name]) == len(bins["images"])
        for name in ("confidence", "accuracy")
    )
    _require(METRICS, "reliability", right)


def _check_intervals(intervals):
    """Each is null or two ascending numbers; what they are is a number or text."""
    if intervals is None:
        return
    right = isinstance(intervals, dict) and _is_number(intervals.get("level"), 0, 1)
    for value in intervals.values() if right else ():
        if isinstance(value, list):
            right = right and _are_numbers(value, 2) and value[0] <= value[1]
        else:
            right = right and (value is None or isinstance(value, str) or _is_number(value))
    right = right and all(
        isinstance(intervals.get(name), list | None) for name in (*SHOT_FIGURES, *_WITH_INTERVAL)
    )
    _require(METRICS, "intervals", right)


def _check_macro_f1(metrics):
    """Raises DamagedError where the mean of the classes' F1 does not follow from the matrix."""
    rows = metrics["confusion_matrix"]
    if metrics["macro_f1"] is None or rows is None:
        return
    named = [
        sum(row) + sum(column) for row, column in zip(rows, zip(*rows, strict=True), strict=True)
    ]
    value = _mean([2 * rows[c][c] / n if n else None for c, n in enumerate(named)])
    if not _alike(metrics["macro_f1"], value):
        raise DamagedError(
            f"{METRICS}: `macro_f1` is {_text(metrics['macro_f1'])}, but its confusion_matrix "
            f"gives {_text(value)}"
        )


def _check_figures(metrics, groups):
    """Raises DamagedError where a figure does not follow from the confusion matrix."""
    source = "support" if metrics["confusion_matrix"] is None else "confusion_matrix"
    images, right = by_class(metrics)
    _require(METRICS, source, sum(images) > 0, "of one test image at least")
    recalls = [r / n if n else None for r, n in zip(right, images, strict=True)]
    expected = {
        "accuracy": sum(right) / sum(images),
        "balanced_accuracy": _mean(recalls),
        **{f"per_class_accuracy[{c}]": recall for c, recall in enumerate(recalls)},
        **{f"{name}_accuracy": _mean([recalls[c] for c in ids]) for name, ids in groups.items()},
    }
    accuracies = enumerate(metrics["per_class_accuracy"])
    recorded = metrics | {f"per_class_accuracy[{c}]": accuracy for c, accuracy in accuracies}
    for name, value in expected.items():
        if not _alike(recorded[name], value):
            raise DamagedError(
                f"{METRICS}: `{name}` is {_text(recorded[name])}, but its {source} gives "
                f"{_text(value)}"
            )


def by_class(metrics):
    """`(images, right)` of each class of a checked `metrics.json`, lists of numbers.

    Without a confusion matrix the right ones are the recall of the class times its images.
    """
    confusion = metrics["confusion_matrix"]
    if confusion is not None:
        return [sum(row) for row in confusion], [row[c] for c, row in enumerate(confusion)]
    images = metrics["support"]
    recalls = zip(metrics["per_class_accuracy"], images, strict=True)
    return images, [0 if recall is None else round(recall * n) for recall, n in recalls]


def _mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def _alike(recorded, value):
    if recorded is None or value is None:
        return recorded is value
    return abs(recorded - value) <= _ROUNDING


def _text(value):
    return "null" if value is None else f"{value:.6g}"


def _require(file, name, right, expected=_AS_WRITTEN):
    if not right:
        raise DamagedError(f"{file}: `{name}` is missing or not {expected}")


def _are(kind, values):
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _are_shares(values):
    """Whether it is a list of numbers from 0 to 1 and nulls."""
    return isinstance(values, list) and all(v is None or _is_number(v, 0, 1) for v in values)


def _is_number(value, low=-1e300, high=1e300):
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _are_numbers(values, length=None, low=-1e300):
    if not isinstance(values, list) or length not in (None, len(values)):
        return False
    return all(_is_number(value, low) for value in values)


def number(value):
    """The value if it is one to draw or average, else None, as for NaN."""
    return value if _is_number(value) else None
