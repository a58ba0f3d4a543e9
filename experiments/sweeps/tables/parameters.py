"""The methods with several values of the parameter that each has, chosen on held-out images."""

import dataclasses
from typing import Any

from experiments import methods
from experiments.cli import UserError
from experiments.runs import naming
from experiments.sweeps.cells import VALIDATION
from experiments.sweeps.claims import chosen, chosen_in_words
from experiments.sweeps.tables import of_presets
from experiments.sweeps.tables.methods import ROWS
from experiments.sweeps.tables.rows import OF_METHODS, Row, named
from experiments.sweeps.tables.table import Option, Table

_ONLY = "all figures"  # the one column of cells


@dataclasses.dataclass(frozen=True)
class Tried:
    """A method and the values that are tried of one of its parameters.

    Attributes:
        parameter: Its name, which is a flag of experiments.train.
        values: Tuple of values, ascending.
        published: The one of its paper's tables; of what has none the usual one.
        words: What it is called.
        method: `--method`.
        loss: `--loss`.
        own: Its other parameters, where they are not the defaults.
        preset: Name of the preset that it takes settings of, as a row of the table of methods.
        first: The row of that table whose run it begins with, a row of this one too.
    """

    parameter: str
    values: tuple[float | str, ...]
    published: float | str
    words: str = "published"
    method: str = methods.DEFAULT
    loss: str = "softmax"
    own: dict[str, Any] = dataclasses.field(default_factory=dict)
    preset: str | None = None
    first: str | None = None

    def label(self, method, value):
        """What its row is called."""
        return f"{method}, {self.parameter} {naming.exact(value)}"

    def row(self, value):
        """It with a value, as the table of methods has rows."""
        own = {**self.own, self.parameter: value}
        return Row(self.method, self.loss, own, preset=self.preset, first=self.first)


def _effective(row):
    """The `methods.Parameter` that the method of a row has, a tuple."""
    return methods.METHODS[row.method].parameters_of({"loss": row.loss})


def _settings(row):
    """The settings of a training.

    Parameters that it does not have are the defaults, and those of the table that it does not
    choose; what else it has is as the flags give it.
    """
    kept = {p.name for p in _effective(row)} - {*_PARAMETERS}
    defaults = {p.name: p.default for p in methods.PARAMETERS.values() if p.name not in kept}
    of_row = {**of_presets.settings(row), "method": row.method, "loss": row.loss, **row.own}
    return {**defaults, **of_row}


# Papers: Cui et al. 2019 (power 1, gamma 1), Menon et al. 2021 (tau 1), Kini et al. 2021 (VS),
# Ye et al. 2020 (CDT), Cao et al. 2019 (LDAM, whose code has scale 30; weights from 160 of
# 200 epochs), Kang et al. 2020 (classes equally often), Zhong et al. 2021 (MiSLAS); of our
# own are the ramp, up to Cui's term, difficulty and volumes, with the defaults of their flags; the
# weight decay is that of small images with a cosine and sharpness-aware steps.
TRIED = {
    "class-balanced softmax": Tried("cb_power", (0.0, 0.25, 0.5, 0.75, 1.0, 1.5), published=1.0),
    "class-balanced focal": Tried("gamma", (0.5, 1.0, 2.0), published=1.0, loss="focal"),
    "logit adjustment": Tried("tau", (0.5, 1.0, 1.5, 2.0), published=1.0, method="logit_adjusted"),
    "VS": Tried("vs_gamma", (0.05, 0.1, 0.15, 0.2), published=0.15, method="vs"),
    "CDT": Tried("vs_gamma", (0.1, 0.2, 0.3), published=0.2, method="vs", own={"tau": 0.0}),
    "deferred class-balanced softmax": Tried(
        "drw_start", (0.6, 0.8, 0.9), published=0.8, method="cb_drw"
    ),
    "ramped class-balanced softmax": Tried(
        "cb_power", (0.5, 1.0, 1.5), published=1.0, words="usual", method="power_ramp"
    ),
    "softmax by difficulty": Tried(
        "difficulty_power",
        (0.5, 1.0, 2.0),
        published=1.0,
        words="usual",
        method="difficulty",
        own={"cb_power": 0.0},
    ),
    "class-balanced softmax by class volume": Tried(
        "volume_quantile", (0.25, 0.5, 0.75), published=0.5, words="usual", method="class_volume"
    ),
    "resampled softmax": Tried(
        "sampler",
        ("power:0.25", "power:0.5", "power:0.75", "power:1"),
        published="power:1",
        own={"cb_power": 0.0},
    ),
    "deferred LDAM": Tried("scale", (10.0, 30.0), published=30.0, method="ldam_drw"),
    "MiSLAS": Tried(
        "smooth_head",
        (0.1, 0.2, 0.3, 0.4, 0.5),
        published=0.3,
        method="mislas",
        preset="second_stage",
        first="softmax with mixup",
    ),
    "Balanced Softmax with strong recipe": Tried(
        "weight_decay",
        (2e-4, 5e-4, 1e-3),
        published=5e-4,
        words="usual",
        method="balanced_softmax",
        preset="strong",
    ),
}
_PARAMETERS = sorted(OF_METHODS & {name for t in TRIED.values() for name in (t.parameter, *t.own)})
_OPTION = "tuned"


def _cells(settings, options):
    if not settings.get("validation_fraction"):
        raise UserError(
            "--table=parameters chooses on images that are held out of the training set: give "
            "--validation_fraction=0.1."
        )
    chosen_methods = named(_OPTION, options.get(_OPTION), TRIED)
    _check_effective(settings, chosen_methods.values())
    for method, tried in chosen_methods.items():
        if tried.first:
            yield tried.first, _ONLY, _settings(ROWS[tried.first])
        for value in tried.values:
            row = tried.row(value)
            place = tried.label(method, value), _ONLY
            yield *place, _settings(row), row.first, None, row.of_protocol


def _check_effective(settings, every):
    """Refuses a parameter that is given and has no effect on any of the methods."""
    effective = {parameter for tried in every for parameter in _effective(tried)}
    for parameter in methods.PARAMETERS.values():
        value = parameter.value(settings)
        given = parameter.name not in _PARAMETERS and value != parameter.default
        if given and parameter not in effective:
            raise UserError(
                f"--{parameter.name}={naming.exact(value)} has no effect on any of these methods; "
                "leave it out."
            )


def _places(outcome):
    """Dict of method to the places of its values, of those that the sweep has.

    The published value is the first of them: of equals the first is the best.
    """
    found = {}
    for method, tried in TRIED.items():
        values = sorted(tried.values, key=lambda value, of=tried: value != of.published)
        rows = {naming.exact(value): tried.label(method, value) for value in values}
        places = {value: (row, _ONLY) for value, row in rows.items() if row in outcome.rows}
        if places:
            found[method] = places
    return found


def _of_presets(outcome):
    """What methods have of presets, and with whose runs they begin."""
    known = [row for row in outcome.rows if outcome.statistic(row, _ONLY).mean is not None]
    rows, called = {t.first: ROWS[t.first] for t in TRIED.values() if t.first}, {}
    for method, tried in TRIED.items():
        rows |= {tried.label(method, value): tried.row(value) for value in tried.values}
        called |= {tried.label(method, value): method for value in tried.values}
    yield from of_presets.in_words(outcome, rows, known, called)
    yield from of_presets.firsts_in_words(rows, known, called)


def _choices(outcome):
    for method, places in _places(outcome).items():
        yield method, TRIED[method].parameter, places


def _claims(outcome):
    for method, what, places in _choices(outcome):
        yield chosen_in_words(outcome, method, what, places)
        yield from _against_published(outcome, method, places)
    if len(outcome.metrics) == len(outcome.cells):
        every = {row: (row, _ONLY) for row in outcome.rows}
        dataset = outcome.cells[0].settings["dataset"]
        yield chosen_in_words(outcome, f"{dataset}, all of these", "method", every)
    yield from _of_presets(outcome)


def _against_published(outcome, method, places):
    """What the published value reaches, where another is chosen."""
    published = naming.exact(TRIED[method].published)
    means = [outcome.statistic(*place, VALIDATION).mean for place in places.values()]
    if published not in places or None in means:
        return
    if (best := chosen(outcome, places)) != published:
        held_out = outcome.statistic(*places[published], VALIDATION)
        there, here = (
            outcome.statistic(*places[value], "balanced_accuracy") for value in (published, best)
        )
        gained = 100 * (here.mean - there.mean)
        yield (
            f"{method}: the {TRIED[method].words} {published} has {held_out} on held-out images "
            f"and {there} on the test set, the chosen {best} {here} ({gained:+.1f} points)."
        )


TABLE = Table(
    name="parameters",
    title="Parameters of the methods",
    document="parameters.md",
    help="several values of each method's parameter, chosen on held-out images",
    varies=("method", "loss", "first_stage", *_PARAMETERS, *of_presets.RECIPE),
    differs=of_presets.DIFFERS,
    heading="method and value",
    cells=_cells,
    claims=_claims,
    choices=_choices,
    options=(
        Option(
            _OPTION,
            'Some methods of the table of parameters alone, by their names, such as "VS,CDT".',
            is_list=True,
        ),
    ),
    figures={
        VALIDATION: "held out",
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced",
        "few_accuracy": "few",
        "ece": "ECE",
        "nll": "NLL",
    },
)
