"""What rows of tables take of presets: second stages and the strong recipe."""

from experiments.runs import naming
from experiments.sweeps import presets

# The rest is the table's, such as the number of epochs of the strong recipe.
SECOND = (
    *("sampler", "train_epochs", "eval_epochs", "learning_rate", "warmup_epochs", "lr_schedule"),
    *("momentum", "weight_decay"),
)
STRONG = ("lr_schedule", "weight_decay", "randaugment", "cutout", "ema", "sam_rho")
# What rows have of mixed images and of the strong recipe, and no flag gives to the others.
RECIPE = ("mixup_alpha", "cutmix_alpha", "randaugment", "cutout", "ema", "sam_rho")
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


def in_words(outcome, rows, known, called=None):
    """What rows with a preset have that the others do not, in the words of the flags.

    Args:
        outcome: `cells.Outcome` of a table with one column.
        rows: Dict of label to `rows.Row` or `rows.After`.
        known: Labels of the rows that are finished.
        called: Dict of label to what it is called, once for all with that name; else as it is.
    """
    (column,) = outcome.columns
    plain = (c.settings for c in outcome.cells if not (_preset(rows[c.row]) or c.by_row))
    shared, found = next(plain, {}), {}
    for label in known:
        if preset := _preset(rows[label]):
            own = outcome.cells[outcome.at(label, column)[0]].settings
            names = [n for n in NAMES[preset] if n not in rows[label].own]
            texts = [f"{n} {naming.exact(own[n])}" for n in names if own[n] != shared.get(n)]
            found.setdefault((preset, ", ".join(texts)), []).append(label)
    for preset in NAMES:
        for (name, text), labels in found.items():
            if name == preset and text:
                yield f"{_names(labels, called)}, by the preset {preset}: {text}."


def firsts_in_words(rows, known, called=None):
    """Which rows begin with the runs of another, and what their times are of.

    Args:
        rows: As of `in_words`.
        known: As of `in_words`.
        called: As of `in_words`.
    """
    for first in dict.fromkeys(rows[label].first for label in known if rows[label].first):
        own = [label for label in known if rows[label].first == first]
        after = [label for label in own if hasattr(rows[label], "posthoc")]
        if after:
            yield f"{_names(after, called)}: the networks of {first}, whose time they show."
        if second := [label for label in own if label not in after]:
            names = _names(second, called)
            yield f"{names}: on the trunks of {first}, whose time is not in theirs."


def _names(labels, called):
    return ", ".join(dict.fromkeys((called or {}).get(label, label) for label in labels))


def _preset(row):
    return getattr(row, "preset", None)
