"""What rows of tables take of presets: second stages and the strong recipe."""

from experiments.sweeps import presets

# The rest is the table's, such as the number of epochs of the strong recipe.
SECOND = (
    *("sampler", "train_epochs", "eval_epochs", "learning_rate", "warmup_epochs", "lr_schedule"),
    *("momentum", "weight_decay"),
)
STRONG = ("lr_schedule", "weight_decay", "randaugment", "cutout", "ema", "sam_rho")
NAMES = {"second_stage": SECOND, "strong": STRONG}
# What a cosine has no use for, and a second stage; with them a row has the flags' defaults.
_OF_STEPS = ("lr_boundaries", "lr_decay", "balanced_lr_decay")
_OF_FIRST = ("freeze_epochs", "backbone_weights")
# Settings in which rows with a preset may differ from the others.
DIFFERS = tuple(dict.fromkeys((*SECOND, *STRONG, *_OF_STEPS, *_OF_FIRST)))


def settings(row):
    """The settings that a row has of its preset, and by it.

    Args:
        row: `rows.Row`.
    """
    found = {}
    if row.preset:
        preset = presets.settings(row.preset)
        found |= {name: preset[name] for name in NAMES[row.preset]}
    if row.preset or "lr_schedule" in row.own:
        found |= {name: presets.default(name) for name in _OF_STEPS}
    if row.first:
        found |= {name: presets.default(name) for name in _OF_FIRST}
    return found
