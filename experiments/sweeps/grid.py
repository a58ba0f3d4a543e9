"""The cells of the papers' tables: which runs a table is made of, and what was published."""

import dataclasses

from experiments.cli import UserError

LOSSES = ("softmax", "sigmoid", "focal")
POWERS = {0.0: "none", 1.0: "CB", 0.5: "sqrt", 2.0: "squared"}  # in the order of table 2
POWER_CURVE = tuple(i / 4 for i in range(9))
# What varies between the cells of a sweep; everything else is the same in all of them.
AXES = ("loss", "cb_power", "cb_beta", "gamma", "imbalance_factor", "seed", "train_epochs")

# Park & Hwang 2022, accuracy on CIFAR-10 by (loss, imbalance factor, power), beta 0.9999, gamma 1.
_PUBLISHED = {
    **{("softmax", 1.0, 0.0): 0.8535, ("sigmoid", 1.0, 0.0): 0.9286, ("focal", 1.0, 0.0): 0.8581},
    **{
        (loss, 0.02, power): accuracy
        for loss, row in {
            "softmax": (0.7690, 0.7805, 0.7692, 0.6086),
            "sigmoid": (0.7724, 0.7854, 0.7782, 0.6402),
            "focal": (0.7727, 0.7901, 0.7737, 0.6595),
        }.items()
        for power, accuracy in zip(POWERS, row, strict=True)
    },
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a table.

    Attributes:
        row: Label of its row in the table.
        column: Label of its column.
        settings: Settings of experiments.train.
    """

    row: str
    column: str
    settings: dict

    @property
    def published(self):
        """The paper's accuracy for these settings, or None."""
        s = self.settings
        comparable = (
            s["dataset"] == "cifar10"
            and s["long_tail"] == "exponential"
            and (s["loss"] != "focal" or s["gamma"] == 1.0)
            and (s["cb_power"] == 0 or s["cb_beta"] == 0.9999)
        )
        key = (s["loss"], s["imbalance_factor"], s["cb_power"])
        return _PUBLISHED.get(key) if comparable else None


def cells(table, settings, seeds, balanced_epochs=None):
    """The runs that a table is made of, all of the first seed before those of the next.

    Args:
        table: `1` (three losses, balanced and long-tailed, plain), `2` (three losses, four powers)
            or `power` (one loss, powers from 0 to 2).
        settings: Settings of experiments.train that all cells share.
        seeds: Seeds; every cell is run once with each.
        balanced_epochs: Epochs of table 1's balanced cells; None: as the others.

    Returns:
        List of `Cell`.

    Raises:
        UserError: The settings leave the table without one of its halves.
    """
    make = {"1": _table_1, "2": _table_2, "power": _power_curve}[table]
    shape = list(make(settings, balanced_epochs))
    return [
        Cell(row, column, {**settings, **own, "seed": seed})
        for seed in seeds
        for row, column, own in shape
    ]


def _loss(name):
    """The settings of a loss: a table's `--gamma` is for its focal cells, and refused elsewhere."""
    return {"loss": name} if name == "focal" else {"loss": name, "gamma": 1.0}


def _table_1(settings, balanced_epochs):
    factor = settings["imbalance_factor"]
    if settings["long_tail"] != "exponential" or factor == 1:
        natural = "the natural tail, which tfds:NAME has unless --imbalance_factor is given"
        got = f"{factor:g}" if settings["long_tail"] == "exponential" else natural
        raise UserError(
            "--table=1 compares balanced data with a long tail: it needs --long_tail=exponential "
            f"and an --imbalance_factor below 1, such as 0.02; got {got}."
        )
    balanced = {"imbalance_factor": 1.0}
    if balanced_epochs is not None:
        balanced["train_epochs"] = balanced_epochs
    for loss in LOSSES:
        plain = {**_loss(loss), "cb_power": 0.0}
        yield loss, "balanced", {**plain, **balanced}
        yield loss, f"imbalance factor {factor:g}", plain


def _table_2(settings, _):
    for loss in LOSSES:
        for power, name in POWERS.items():
            yield loss, f"{power:g} ({name})", {**_loss(loss), "cb_power": power}


def _power_curve(settings, _):
    for power in POWER_CURVE:
        yield f"{power:g}", settings["loss"], {"cb_power": power}
