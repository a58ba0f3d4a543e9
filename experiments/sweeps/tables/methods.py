"""The methods side by side, each with its published parameters: one row a method, many figures."""

from experiments.sweeps.cells import with_loss
from experiments.sweeps.claims import chosen_in_words
from experiments.sweeps.tables.table import Table

_ONLY = "all figures"  # the one column of cells
# Label -> (method, loss, its settings, what the field reports in % on CIFAR-10-LT, ratio 50, with
# ResNet-32 and 200 epochs, often the best of the test epochs). The papers: see the methods' files.
ROWS = {
    "softmax": ("class_balanced", "softmax", {"cb_power": 0.0}, "74.8 to 77.5"),
    "class-balanced softmax": ("class_balanced", "softmax", {"cb_power": 1.0}, "77.5 to 79.2"),
    "square root softmax": ("class_balanced", "softmax", {"cb_power": 0.5}, None),
    "class-balanced focal": ("class_balanced", "focal", {"cb_power": 1.0}, "79.0 to 79.3"),
    "class-balanced softmax focal": ("softmax_focal", "softmax", {"cb_power": 1.0}, None),
    "deferred class-balanced softmax": ("cb_drw", "softmax", {"cb_power": 1.0}, "80.0"),
    "ramped class-balanced softmax": ("power_ramp", "softmax", {"cb_power": 1.0}, None),
    "Balanced Softmax": ("balanced_softmax", "softmax", {}, "81.1"),
    "CDT": ("vs", "softmax", {"vs_gamma": 0.2, "tau": 0.0}, "81.8"),
    "VS": ("vs", "softmax", {"vs_gamma": 0.15, "tau": 1.0}, None),
    "deferred VS": ("vs_drw", "softmax", {"vs_gamma": 0.15, "tau": 1.0, "cb_power": 1.0}, None),
    "LDAM": ("ldam", "softmax", {}, None),
    "deferred LDAM": ("ldam_drw", "softmax", {"cb_power": 1.0}, "81.0"),
}


def _cells(settings, options):
    del options
    for label, (method, loss, own, _) in ROWS.items():
        shared = with_loss({**settings, "method": method}, loss)
        yield label, _ONLY, {**shared, "method": method, **_defaults(), **own}


def _defaults():
    """The parameters that rows choose, where a row does not: those of the flags."""
    from experiments import methods

    chosen = {name for _, _, own, _ in ROWS.values() for name in own}
    return {name: methods.PARAMETERS[name].default for name in sorted(chosen)}


def _claims(outcome):
    places = {row: (row, _ONLY) for row in outcome.rows}
    yield chosen_in_words(outcome, outcome.cells[0].settings["dataset"], "method", places)


TABLE = Table(
    name="methods",
    title="Methods",
    document="methods.md",
    help="re-weighting, logit adjustment, margins and deferred weights side by side",
    varies=("method", "loss", "cb_power", "tau", "vs_gamma"),
    heading="method",
    cells=_cells,
    claims=_claims,
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
    reported={label: text for label, (*_, text) in ROWS.items()},
)
