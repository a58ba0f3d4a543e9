"""What was done to the network of a run before it was measured again, as the figures record it."""

import json

from experiments.runs import naming

PREFIX = "posthoc_"  # of the files of such figures in a run directory, and of the flags
# What figures call the names of the numbers whose search reached the end of its range.
END_OF_RANGE = "at_the_end_of_the_range"
NUMBERS = ("tau", "temperature")


def in_words(about):
    """Such as "logit_adjustment tau 1"; None of nothing.

    Args:
        about: `posthoc` of the figures, checked; None where they have none.
    """
    if about is None:
        return None
    return " ".join([",".join(about["steps"]), *(f"{n} {about[n]:g}" for n in _known(about))])


def label(about):
    """What tells it from other things that are done: as `in_words`, but chosen is "chosen".

    A number that is chosen on held-out images is another one with each seed.
    """
    chosen = about.get("chosen_by", {})
    numbers = [f"{n} {'chosen' if n in chosen else naming.exact(about[n])}" for n in _known(about)]
    prior = [f"to {json.dumps(about['prior'])}"] if "prior" in about else []
    return " ".join([",".join(about["steps"]), *numbers, *prior])


def command(about, run):
    """The command that measures it again.

    Args:
        about: As for `label`.
        run: Run directory.
    """
    chosen = about.get("chosen_by", {})
    given = {n: naming.exact(about[n]) for n in _known(about) if n not in chosen}
    if "prior" in about:
        given["prior"] = ",".join(map(naming.exact, about["prior"]))
    return " ".join(
        [
            "python -m experiments.evaluate",
            f"--saved_model={run}/model.keras",
            f"--posthoc={','.join(about['steps'])}",
            *(f"--{PREFIX}{name}={value}" for name, value in given.items()),
        ]
    )


def _known(about):
    return [name for name in NUMBERS if name in about]
