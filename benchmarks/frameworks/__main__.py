"""What does a class-balanced loss with its gradient cost on each framework, eager and compiled?

python -m benchmarks.frameworks [--goals] [--json=FILE]

Our Loss classes, as users have them, next to the same loss in the framework's own functions, to
Keras' built-in loss, and to copies of the logits, which are the least that a loss with its gradient
can do. A process for each framework; all take turns in rounds. Before anything is timed, every loss
and gradient is compared with float64 numpy; a wrong answer ends the program. On a GPU, small sizes
stay in its cache from call to call, for all alike.
"""

import importlib.util
import json
import os
import pathlib
import tempfile
import time

from absl import app, flags

from benchmarks import loss_problem, timing
from benchmarks.frameworks import tables
from benchmarks.frameworks.contenders import COPIES, LOSSES_OF, MODES
from benchmarks.frameworks.processes import Died, Process

_ALL = (*LOSSES_OF, *COPIES)
_ALL_MODES = tuple(dict.fromkeys(mode for modes in MODES.values() for mode in modes))

_FRAMEWORKS = flags.DEFINE_list("frameworks", list(MODES), f"Of {', '.join(MODES)}.")
_SIZES = flags.DEFINE_list(
    "sizes",
    ["4096x8142", "128x10", "512x1000", "100000x80", "1000000x10"],
    "Examples x classes, NxC,NxC,...",
)
_LOSSES = flags.DEFINE_list(
    "losses", list(loss_problem.LOSS_NAMES), f"Of {', '.join(loss_problem.LOSS_NAMES)}."
)
_DTYPES = flags.DEFINE_list("dtypes", ["float32"], "Of the logits: float32, bfloat16, float16.")
_CONTENDERS = flags.DEFINE_list("contenders", list(_ALL), "Which of them, by name.")
_MODES = flags.DEFINE_list("modes", list(_ALL_MODES), f"Of {', '.join(_ALL_MODES)}.")
_DEVICE = flags.DEFINE_enum("device", "cpu", ["cpu", "gpu"], "Where to compute.")
_REPETITIONS = flags.DEFINE_integer("repetitions", 5, "Rounds.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 0.2, "Shortest time of one measurement.")
_BUDGET = flags.DEFINE_float("budget", None, "Seconds for everything; what is left is left out.")
_GOALS = flags.DEFINE_bool("goals", False, "Say at the end which goals are not met.")
_JSON = flags.DEFINE_string("json", None, "File for the figures, written after each table.")


def parse_size(text):
    """`[N, C]` of `"NxC"`."""
    numbers = text.split("x")
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise app.UsageError(f"a size must be NxC, for example 4096x8142, got {text!r}.")
    return list(map(int, numbers))


def parse_name(what, names):
    """Function of a text that refuses what is not one of the names."""

    def parse(text):
        if text not in names:
            raise app.UsageError(f"a {what} must be one of {', '.join(names)}, got {text!r}.")
        return text

    return parse


class Frameworks:
    """The processes, and what is known of them.

    Args:
        names: Of `MODES`.
        device: `"cpu"` or `"gpu"`.
        log: File for what they print.
        deadline: `time.monotonic()` at which they are ended, or None.
    """

    def __init__(self, names, device, log, deadline):
        self.device, self.log, self.deadline = device, log, deadline
        self.processes, self.about, self.gone = {}, {}, {}
        for name in names:
            if importlib.util.find_spec(name) is None:
                self.gone[name] = "it is not installed"
                continue
            self.processes[name] = Process(name, device, log)
            self.about[name] = self.ask(name, "about")
            if self.about[name] is not None and self.about[name]["device"] != device.upper():
                self._lose(name, f"it has no {device.upper()}")

    def ask(self, name, do, **arguments):
        """The answer of a framework's process; None where it is gone."""
        if name not in self.processes:
            return None
        try:
            return self.processes[name].ask(do, self.deadline, **arguments)
        except Died as error:
            self._lose(name, str(error))
            return None

    def _lose(self, name, why):
        self.gone[name] = why
        self.processes.pop(name).stop()

    def start_again(self):
        """Starts those that died once more: a loss that is too large must not cost the others."""
        for name, why in list(self.gone.items()):
            if "status" in why:
                del self.gone[name]
                self.processes[name] = Process(name, self.device, self.log)

    def stop(self):
        """Ends all processes."""
        for process in self.processes.values():
            process.stop()


def time_all(frameworks, case, which, repetitions, seconds):
    """The table of one case.

    Args:
        frameworks: `Frameworks`.
        case: Dict of `loss`, `size`, `dtype`.
        which: Dict of `contenders` and `modes`, their names.
        repetitions: Rounds.
        seconds: Of one measurement.

    Returns:
        The case, with `figures`, dicts of `framework`, `mode`, `contender` and `milliseconds`, one
        a round; and `missing`, the same three and `why`.

    Raises:
        WrongAnswer: A contender is wrong; nothing has been timed.
    """
    figures, missing, right = [], [], None
    for name in list(frameworks.processes):
        right = right or frameworks.ask(name, "mean_loss", **case)
        request = {**case, **(right or {}), **which}
        prepared = frameworks.ask(name, "prepare", **request) if right else None
        for mode, contender in prepared["steps"] if prepared else ():
            where = {"framework": name, "mode": mode, "contender": contender}
            figures.append({**where, "milliseconds": []})
        for mode, contender, why in prepared["missing"] if prepared else ():
            where = {"framework": name, "mode": mode, "contender": contender}
            missing.append({**where, "why": why})
    for _ in range(repetitions):
        for of in figures:
            request = {"mode": of["mode"], "contender": of["contender"], "seconds": seconds}
            answer = frameworks.ask(of["framework"], "measure", **request)
            if answer:
                of["milliseconds"].append(answer["milliseconds"])
    for name, why in frameworks.gone.items():
        missing.append({"framework": name, "mode": "any", "contender": "all", "why": why})
    frameworks.start_again()
    return {**case, "figures": figures, "missing": missing}


def run(frameworks, cases, which, repetitions, seconds, save):
    """Times all cases before the frameworks' deadline; `save(result)` after each."""
    result = {
        "title": "Loss and gradient with respect to the logits, milliseconds",
        "machine": timing.machine(),
        "frameworks": frameworks.about,
        "tables": [],
        "left_out": [],
        "goals": [],
    }
    for case in cases:
        if frameworks.deadline is not None and time.monotonic() >= frameworks.deadline:
            result["left_out"].append(case)
            continue
        table = time_all(frameworks, case, which, repetitions, seconds)
        tables.show(table)
        result["tables"].append({**table, "ratios": tables.ratios(table)})
        result["goals"] = tables.judge(result["tables"])
        save(result)
    save(result)
    if result["left_out"]:
        print(f"the time is over: {len(result['left_out'])} of {len(cases)} tables are left out")
    return result


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}.")
    names = list(map(parse_name("framework", list(MODES)), _FRAMEWORKS.value))
    which = {
        "contenders": list(map(parse_name("contender", _ALL), _CONTENDERS.value)),
        "modes": list(map(parse_name("mode", _ALL_MODES), _MODES.value)),
    }
    cases = [
        {"loss": loss, "size": size, "dtype": dtype}
        for size in map(parse_size, _SIZES.value)
        for dtype in map(parse_name("dtype", ["float32", "bfloat16", "float16"]), _DTYPES.value)
        for loss in map(parse_name("loss", loss_problem.LOSS_NAMES), _LOSSES.value)
    ]

    def save(result):
        if _JSON.value:
            part = pathlib.Path(f"{_JSON.value}.part")
            part.write_text(json.dumps(result, indent=1) + "\n")
            os.replace(part, _JSON.value)

    deadline = None if _BUDGET.value is None else time.monotonic() + _BUDGET.value
    with tempfile.TemporaryFile("w+") as log:
        frameworks = Frameworks(names, _DEVICE.value, log, deadline)
        try:
            result = run(frameworks, cases, which, _REPETITIONS.value, _SECONDS.value, save)
        finally:
            frameworks.stop()
        log.seek(0)
        for name, why in frameworks.gone.items():
            print(f"{name}: {why}")
        if any("status" in why for why in frameworks.gone.values()):
            print("".join(log.readlines()[-20:]))
    if _GOALS.value:
        tables.show_goals(result["goals"])


if __name__ == "__main__":
    app.run(main)
