"""The rounds of benchmarks.frameworks: every framework's process takes its turn."""

import importlib.util
import time

from benchmarks import timing
from benchmarks.frameworks import tables
from benchmarks.frameworks.processes import Died, Process


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
