"""What does a class-balanced loss with its gradient cost on each framework, eager and compiled?

python -m benchmarks.frameworks [--goals] [--json=FILE]

Our Loss classes, as users have them, next to the same loss in the framework's own functions, to
Keras' built-in loss, and to copies of the logits, which are the least that a loss with its gradient
can do. A process for each framework; all take turns in rounds. Before anything is timed, every loss
and gradient is compared with float64 numpy; a wrong answer ends the program. On a GPU, small sizes
stay in its cache from call to call, for all alike.
"""

import argparse
import json
import os
import pathlib
import tempfile
import time

from benchmarks import loss_problem
from benchmarks.frameworks import rounds, tables
from benchmarks.frameworks.contenders import COPIES, LOSSES_OF, MODES

_NAMES = {
    "frameworks": list(MODES),
    "losses": list(loss_problem.LOSS_NAMES),
    "dtypes": ["float32", "bfloat16", "float16"],
    "contenders": [*LOSSES_OF, *COPIES],
    "modes": list(dict.fromkeys(mode for modes in MODES.values() for mode in modes)),
}
_DEFAULTS = {"dtypes": ["float32"]}  # of the others all
_SIZES = "4096x8142,128x10,512x1000,100000x80,1000000x10"


def size(text):
    """`[N, C]` of `"NxC"`."""
    numbers = text.split("x")
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise argparse.ArgumentTypeError(f"a size must be NxC, for example 4096x8142, got {text!r}")
    return list(map(int, numbers))


def _names(what):
    """The type of an argument that is a list of names."""

    def parse(text):
        for name in text.split(","):
            if name not in _NAMES[what]:
                allowed = ", ".join(_NAMES[what])
                raise argparse.ArgumentTypeError(f"each must be one of {allowed}, got {name!r}")
        return text.split(",")

    return parse


def parsed(arguments=None):
    """The command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sizes",
        type=lambda text: list(map(size, text.split(","))),
        default=_SIZES,
        help=f"Examples x classes; default {_SIZES}.",
    )
    for what, names in _NAMES.items():
        default = _DEFAULTS.get(what, names)
        about = f"Of {', '.join(names)}; default {', '.join(default)}."
        parser.add_argument(f"--{what}", type=_names(what), default=default, help=about)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--repetitions", type=int, default=5, help="Rounds.")
    parser.add_argument("--seconds", type=float, default=0.2, help="Of one measurement, at least.")
    parser.add_argument(
        "--budget", type=float, help="Seconds for everything; what is left then is left out."
    )
    parser.add_argument(
        "--goals", action="store_true", help="Say at the end which goals are not met."
    )
    parser.add_argument("--json", help="File for the figures, written after each table.")
    return parser.parse_args(arguments)


def main(arguments=None):
    arguments = parsed(arguments)
    cases = [
        {"loss": loss, "size": size, "dtype": dtype}
        for size in arguments.sizes
        for dtype in arguments.dtypes
        for loss in arguments.losses
    ]
    which = {"contenders": arguments.contenders, "modes": arguments.modes}

    def save(result):
        if arguments.json:
            part = pathlib.Path(f"{arguments.json}.part")
            part.write_text(json.dumps(result, indent=1) + "\n")
            os.replace(part, arguments.json)

    deadline = None if arguments.budget is None else time.monotonic() + arguments.budget
    with tempfile.TemporaryFile("w+") as log:
        frameworks = rounds.Frameworks(arguments.frameworks, arguments.device, log, deadline)
        try:
            how = (which, arguments.repetitions, arguments.seconds)
            result = rounds.run(frameworks, cases, *how, save)
        finally:
            frameworks.stop()
        log.seek(0)
        for name, why in frameworks.gone.items():
            print(f"{name}: {why}")
        if any("status" in why for why in frameworks.gone.values()):
            print("".join(log.readlines()[-20:]))
    if arguments.goals:
        tables.show_goals(result["goals"])


if __name__ == "__main__":
    main()
