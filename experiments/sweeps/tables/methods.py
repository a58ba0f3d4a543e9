"""The methods side by side, each with its published parameters: one row a method, many figures."""

import itertools

from experiments import methods
from experiments.backbones import resnet
from experiments.cli import UserError
from experiments.runs import afterwards, naming, tails
from experiments.runs.figures import accuracy, counted
from experiments.sweeps.cells import VALIDATION, with_loss
from experiments.sweeps.claims import chosen_in_words, seeds_in_words
from experiments.sweeps.tables import of_presets
from experiments.sweeps.tables.rows import OF_METHODS, After, Row, check, check_model, named
from experiments.sweeps.tables.table import Option, Table

_ONLY = "all figures"  # the one column of cells
_REPORTED_FACTOR = 0.02
_CHANNELS = {"cifar10": 3, "cifar100": 3, "digits": 1}


def _weighted(power, **own):
    return {"cb_power": power, **own}


_STEP = {"cb_normalize": "examples"}
_MIXED = {"mixup_alpha": 1.0}
_VS = {"vs_gamma": 0.15, "tau": 1.0}
_VS_DRW = {**_VS, **_weighted(1.0)}
_PLAIN = _weighted(0.0)
ROWS = {
    "softmax": Row(own=_PLAIN, reported="74.8 to 77.5"),
    "square root softmax": Row(own=_weighted(0.5)),
    "class-balanced softmax": Row(own=_weighted(1.0), reported="77.5 to 79.2"),
    "squared softmax": Row(own=_weighted(2.0)),
    "square root softmax (same step size)": Row(own=_weighted(0.5, **_STEP)),
    "class-balanced softmax (same step size)": Row(own=_weighted(1.0, **_STEP)),
    "squared softmax (same step size)": Row(own=_weighted(2.0, **_STEP)),
    "class-balanced focal": Row(loss="focal", own=_weighted(1.0), reported="79.0 to 79.3"),
    "class-balanced focal (same step size)": Row(loss="focal", own=_weighted(1.0, **_STEP)),
    "class-balanced softmax focal": Row("softmax_focal", own=_weighted(1.0)),
    "deferred class-balanced softmax": Row("cb_drw", own=_weighted(1.0), reported="80.0"),
    "ramped class-balanced softmax": Row("power_ramp", own=_weighted(1.0)),
    "class-balanced softmax by class volume": Row("class_volume", own=_weighted(1.0)),
    "square root softmax by class volume": Row("class_volume", own=_weighted(0.5)),
    "class-balanced focal by class volume": Row("class_volume", "focal", own=_weighted(1.0)),
    "softmax by difficulty": Row("difficulty", own=_PLAIN),
    "class-balanced softmax by difficulty": Row("difficulty", own=_weighted(1.0)),
    "class-balanced softmax by difficulty (square root)": Row(
        "difficulty", own=_weighted(1.0, difficulty_power=0.5)
    ),
    "class-balanced sampler": Row(own={**_PLAIN, "sampler": "class_balanced"}),
    "square root sampler": Row(own={**_PLAIN, "sampler": "square_root"}),
    "progressive sampler": Row(own={**_PLAIN, "sampler": "progressive"}),
    "Balanced Softmax": Row("balanced_softmax", reported="81.1"),
    "CDT": Row("vs", own={"vs_gamma": 0.2, "tau": 0.0}, reported="81.8"),
    "VS": Row("vs", own=_VS),
    "deferred VS": Row("vs_drw", own=_VS_DRW),
    "LDAM": Row("ldam"),
    "deferred LDAM": Row("ldam_drw", own=_weighted(1.0), reported="81.0"),
    "post-hoc logit adjustment": After(
        "softmax", {"posthoc": ["logit_adjustment"], "posthoc_tau": 1.0}
    ),
    "tau-normalised classifier": After(
        "softmax", {"posthoc": ["tau_norm"], "posthoc_tau": 1.0}, reported="79.8"
    ),
    "cRT": Row("crt", preset="second_stage", first="softmax", reported="80.2"),
    "softmax with mixup": Row(own={**_PLAIN, **_MIXED}),
    "MiSLAS": Row("mislas", preset="second_stage", first="softmax with mixup", reported="85.7"),
    "Balanced Softmax with mixup": Row("balanced_softmax", own=_MIXED),
    "softmax with strong recipe": Row(own=_PLAIN, preset="strong"),
    "Balanced Softmax with strong recipe": Row("balanced_softmax", preset="strong"),
    "deferred VS with strong recipe": Row("vs_drw", own=_VS_DRW, preset="strong"),
}


def _is_reported_on(settings):
    """Whether the data are those of the papers, CIFAR-10-LT of ratio 50."""
    return settings["dataset"] == "cifar10" and tails.factor(settings) == _REPORTED_FACTOR


def _cells(settings, options):
    check(ROWS, of_presets.NAMES)
    for label, row in _chosen(options.get("rows")).items():
        if isinstance(row, After):
            trained = ROWS[row.first]
            own = _settings(settings, trained)
            check_model(label, row, {**settings, **own})
            yield label, _ONLY, own, row.first, row.posthoc, trained.of_protocol
        else:
            yield label, _ONLY, _settings(settings, row), row.first, None, row.of_protocol


def _settings(settings, row):
    """The settings of a training."""
    shared = with_loss({**settings, "method": row.method}, row.loss)
    found = {**shared, "method": row.method, **_defaults()}
    return {**found, **of_presets.settings(row), **row.own}


def _chosen(labels):
    """The rows that `--rows` names, in their order; all without it."""
    found = named("rows", labels, ROWS)
    for label, row in found.items():
        if row.first and row.first not in found:
            raise UserError(
                f"--rows={','.join(labels)}: {label!r} begins with the runs of {row.first!r}; add "
                "it."
            )
    return found


def _chosen_by_rows():
    """Settings that rows choose, without those of the protocol, which flags give to the others."""
    chosen = {name for row in ROWS.values() if isinstance(row, Row) for name in row.own}
    return sorted(chosen & OF_METHODS)


def _defaults():
    """The parameters of methods that rows choose, where a row does not: their defaults."""
    own = [name for name in _chosen_by_rows() if name in methods.PARAMETERS]
    return {name: methods.PARAMETERS[name].default for name in own}


def _claims(outcome):
    known = [row for row in outcome.rows if outcome.statistic(row, _ONLY).mean is not None]
    choosable = [
        r for r in known if outcome.statistic(r, _ONLY, outcome.chosen_by).mean is not None
    ]
    dataset = outcome.cells[0].settings["dataset"]
    if len(known) < len(outcome.rows):
        yield f"{dataset}: {len(known)} of {len(outcome.rows)} methods are finished; of these:"
    if choosable:
        group, shared = _of_the_same_seeds(outcome, dataset, choosable)
        yield chosen_in_words(shared, group, "method", {row: (row, _ONLY) for row in choosable})
        yield from _against(shared, known, choosable)
        if outcome.chosen_by == "accuracy" and len(choosable) > 1:
            yield "It is the best on the test set itself: new seeds of it are likely to do worse."
    yield from _seeds(outcome, known)
    yield from _not_chosen(outcome, known, choosable)
    yield from of_presets.in_words(outcome, ROWS, known)
    yield from _protocols(outcome, known)
    yield from of_presets.firsts_in_words(ROWS, known)
    yield from _parameters(outcome)


def _of_the_same_seeds(outcome, dataset, rows):
    """What a best is chosen from, and its name: a seed has a tail of its own, easy or hard."""
    shared, seeds = outcome.of_shared_seeds(rows)
    numbers = {len(outcome.at_hand(row, _ONLY)) for row in rows}
    if not seeds or numbers == {len(seeds)}:
        return dataset, outcome
    return f"{dataset}, {seeds_in_words(seeds)}", shared


def _against(outcome, known, choosable):
    """How far the best is from the class-balanced focal loss, and from the plain loss."""

    def mean(row, figure):
        return outcome.statistic(row, _ONLY, figure).mean

    best = max(choosable, key=lambda row: mean(row, outcome.chosen_by))
    focal, plain = "class-balanced focal", "softmax"
    parts = []
    if focal in known and best != focal:
        points = 100 * (mean(best, "accuracy") - mean(focal, "accuracy"))
        parts.append(f"{points:+.1f} points of accuracy against {focal}")
    errors = [mean(row, "ece") if row in known else None for row in (best, plain)]
    if None not in errors and best != plain:
        ours, theirs = map(accuracy, errors)
        parts.append(f"calibration error {ours} against {theirs} of {plain}")
    if parts:
        yield f"{best}: {', '.join(parts)}."


def _seeds(outcome, known):
    """Which rows have more seeds than others."""
    numbers = {row: len(outcome.at_hand(row, _ONLY)) for row in known}
    if len({*numbers.values()}) > 1:
        order = sorted(known, key=lambda row: -numbers[row])
        *more, (fewest, _) = [
            (number, ", ".join(rows))
            for number, rows in itertools.groupby(order, key=lambda row: numbers[row])
        ]
        texts = [f"{counted(number, 'seed')} of {rows}" for number, rows in more]
        yield f"Finished are {'; '.join(texts)}; {counted(fewest, 'seed')} of the others."


def _not_chosen(outcome, known, choosable):
    """Which rows have no figure by which the best is chosen, so that they can't be it."""
    others = [row for row in known if row not in choosable]
    if outcome.chosen_by == VALIDATION and others:
        yield (
            f"Without figures on the held-out images, and so left out of that choice: "
            f"{', '.join(others)}; where its file ({afterwards.PREFIX}*.json of the run) is "
            "deleted, the same command measures them."
        )


def _protocols(outcome, known):
    """Which settings of the protocol rows have of their own."""
    found = {}
    for row in known:
        cell = outcome.cells[outcome.at(row, _ONLY)[0]]
        if cell.by_row and not cell.posthoc:
            text = ", ".join(f"{n} {naming.exact(cell.settings[n])}" for n in cell.by_row)
            found.setdefault(text, []).append(row)
    for text, rows in found.items():
        yield f"{', '.join(rows)}, unlike the other rows: {text}."


def _parameters(outcome):
    """How many parameters the network has, where that is known without making it."""
    settings = outcome.cells[0].settings
    channels = _CHANNELS.get(settings["dataset"])
    sizes = {len(m["per_class_accuracy"]) for m in outcome.metrics.values()}
    if channels and len(sizes) == 1 and settings.get("backbone", resnet.NAME) == resnet.NAME:
        number = resnet.parameters(settings["depth"], channels, sizes.pop())
        yield (
            f"The network has {number:,} parameters that are trained; the heads of LDAM have no "
            "bias, that of MiSLAS has a scale for each class."
        )


TABLE = Table(
    name="methods",
    title="Methods",
    document="methods.md",
    help="re-weighting, sampling, logit adjustment, margins, second stages and recipes side by "
    "side",
    varies=tuple(
        dict.fromkeys(("method", "loss", "first_stage", *_chosen_by_rows(), *of_presets.RECIPE))
    ),
    differs=of_presets.DIFFERS,
    heading="method",
    cells=_cells,
    claims=_claims,
    options=(
        Option(
            "rows",
            'Some rows of the table of methods alone, by their names, such as "softmax,cRT".',
            is_list=True,
        ),
    ),
    figures={
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced",
        "many_accuracy": "many",
        "medium_accuracy": "medium",
        "few_accuracy": "few",
        "ece": "ECE",
        "nll": "NLL",
        "seconds_per_epoch": "s an epoch",
    },
    reported={label: row.reported for label, row in ROWS.items()},
    is_reported_on=_is_reported_on,
)
