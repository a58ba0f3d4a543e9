"""What does a class-balanced loss with its gradient cost, composed, fused, and at the very least?

python -m benchmarks.loss_op [--goals] [--json=FILE]

Forward and gradient with respect to float32 logits, all contenders in turn in one run. The least
possible is to read the logits once and to write the gradient once, which is a copy of the same
bytes: into a new tensor, as an op's output is, or into warm memory (see benchmarks.memory_copy).
Before anything is timed, every contender's loss and gradient are compared with the fused op's; a
wrong answer ends the program.
"""

import gc
import importlib.metadata
import importlib.util
import json
import pathlib
import resource
import statistics

import tensorflow as tf
from absl import app, flags

from benchmarks import (
    loss_contenders,
    loss_goals,
    loss_memory,
    loss_problem,
    memory_copy,
    timing,
)
from benchmarks.loss_contenders import COMPOSED, FUNCTIONAL, FUSED_LOSS, XLA
from benchmarks.losses import LOSSES
from cb_keras import fused

_REFERENCES = (FUSED_LOSS, memory_copy.NEW_TENSOR, memory_copy.WARM)

_SIZES = flags.DEFINE_list(
    "sizes",
    [
        *("128x10", "128x100", "512x1000", "512x8142", "4096x8142", "100000x80"),
        *("1000000x2", "1000000x10"),
    ],
    "Examples x classes, NxC,NxC,...",
)
_LOSSES = flags.DEFINE_list("losses", list(LOSSES), f"Of {', '.join(LOSSES)}.")
_MEMORY_SIZES = flags.DEFINE_list(
    "memory_sizes", ["4096x8142"], "Sizes at which the peak memory is measured, or none."
)
_REPETITIONS = flags.DEFINE_integer("repetitions", 7, "Rounds.", lower_bound=1)
_SECONDS = flags.DEFINE_float("seconds", 0.3, "Shortest time of one measurement.")
_GOALS = flags.DEFINE_bool("goals", False, "Say at the end which goals are met.")
_JSON = flags.DEFINE_string("json", None, "File for the figures.")


def parse_size(text):
    """`(N, C)` of `"NxC"`."""
    numbers = text.split("x")
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) > 0 for n in numbers):
        raise app.UsageError(f"a size must be NxC, for example 4096x8142, got {text!r}.")
    return tuple(map(int, numbers))


def parse_loss(text):
    if text not in LOSSES:
        raise app.UsageError(f"a loss must be one of {', '.join(LOSSES)}, got {text!r}.")
    return text


def time_all(loss, size, repetitions, seconds):
    """The table of one loss at one size.

    Returns:
        Dict of `loss`, `size`; `milliseconds`, name to one figure a round; `medians`; `ratios`,
        by reference and name; `page_faults` of one call; `missing`, name to why there is no figure.

    Raises:
        WrongAnswer: A contender is wrong; nothing has been timed.
    """
    problem = loss_problem.Problem.random(loss, size)
    steps, missing = loss_contenders.contenders(problem)
    loss_contenders.check(steps, problem)
    copies = memory_copy.copies(problem)
    memory_copy.check(copies, problem)
    steps |= copies
    milliseconds = timing.alternate(
        {name: lambda s=step: timing.milliseconds_of(s, seconds) for name, step in steps.items()},
        repetitions,
        verbose=False,
    )
    medians = {name: statistics.median(times) for name, times in milliseconds.items()}
    return {
        "loss": loss,
        "size": list(size),
        "milliseconds": milliseconds,
        "medians": medians,
        "ratios": {
            reference: {name: median / medians[reference] for name, median in medians.items()}
            for reference in _REFERENCES
            if reference in medians
        },
        "page_faults": {name: page_faults(step) for name, step in steps.items()},
        "missing": missing,
    }


def page_faults(step):
    """Pages that one call gets from the system; 0 where it uses memory that it had before."""
    step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def print_table(table):
    names = [*table["milliseconds"], *table["missing"]]
    width = max(map(len, names))
    head = f"{table['loss']} {tuple(table['size'])}"
    references = "".join(f"  / {reference}" for reference in table["ratios"])
    print(f"\n{head:<{width}}  {'ms':>9}  {'min - max':>19}{references}  page faults")
    for name, times in table["milliseconds"].items():
        spread = f"{min(times):.4g} - {max(times):.4g}"
        ratios = "".join(
            f"  {ratios[name]:>{len(reference) + 2}.2f}"
            for reference, ratios in table["ratios"].items()
        )
        faults = table["page_faults"][name]
        print(
            f"{name:<{width}}  {table['medians'][name]:>9.4g}  {spread:>19}{ratios}  {faults:>11}"
        )
    for name, why in table["missing"].items():
        print(f"{name:<{width}}  not measured: {why}")


def peak_memories(losses, sizes):
    """Per loss, size and contender: `loss`, `size`, `contender` and its figures."""
    return [
        {
            "loss": loss,
            "size": list(size),
            "contender": name,
            **loss_memory.peak_memory(name, loss, size),
        }
        for size in sizes
        for loss in losses
        for name in (COMPOSED, XLA, FUNCTIONAL, FUSED_LOSS)
    ]


def print_memories(memories):
    print("\npeak memory, logits included, in units of logits + gradient")
    for memory in memories:
        units = f"{memory['units']:.2f}" if "units" in memory else memory["why_not"]
        head = f"{memory['loss']} {tuple(memory['size'])}"
        print(f"{head:<22}  {memory['contender']:<20}  {units}")


def environment():
    """What the figures depend on."""
    packages = [p for p in ("tensorflow", "keras", "torch") if importlib.util.find_spec(p)]
    return {
        "machine": timing.machine(),
        "device": "GPU" if loss_contenders.has_gpu() else "CPU",
        "threads": loss_contenders.threads(),
        "versions": {package: importlib.metadata.version(package) for package in packages},
        "fused_op": fused.status().rpartition("(")[2].rstrip(")"),  # without the library's path
    }


def run(sizes, losses, memory_sizes, repetitions, seconds):
    """All that the program measures, printed on the way; a dict for JSON."""
    if not fused.available():
        raise SystemExit(fused.status())
    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)  # PyTorch needs some of it too
    result = {
        "title": "Loss and gradient with respect to the logits, milliseconds",
        **environment(),
        "tables": [],
    }
    for size in sizes:
        for loss in losses:
            result["tables"].append(time_all(loss, size, repetitions, seconds))
            print_table(result["tables"][-1])
            gc.collect()  # a tf.function is part of a circle, and holds its batch
    result["memory"] = peak_memories(losses, memory_sizes)
    if result["memory"]:
        print_memories(result["memory"])
    result["goals"] = loss_goals.judge(result["tables"], result["memory"])
    return result


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}.")
    result = run(
        [parse_size(text) for text in _SIZES.value],
        [parse_loss(text) for text in _LOSSES.value],
        [parse_size(text) for text in _MEMORY_SIZES.value],
        _REPETITIONS.value,
        _SECONDS.value,
    )
    if _GOALS.value:
        loss_goals.show(result["goals"])
    if _JSON.value:
        pathlib.Path(_JSON.value).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    app.run(main)
