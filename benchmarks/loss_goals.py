"""The goals of benchmarks.loss_op, and whether they are met.

A goal is judged by the Loss class, as users have the op; the bare op stands next to it.
"""

from benchmarks import memory_copy
from benchmarks.loss_contenders import COMPOSED, FUSED_LOSS, FUSED_OP, XLA
from benchmarks.losses import LOSSES

SMALL, LARGE = (128, 10), (4096, 8142)
MANY_ROWS = ((1_000_000, 2), (1_000_000, 10))

# Loss, size, contender, and how many times as fast as that the fused op should be.
_FASTER = [
    ("focal", LARGE, COMPOSED, 10.0),
    ("focal", LARGE, XLA, 4.0),
    ("softmax", LARGE, COMPOSED, 2.0),
    *((loss, SMALL, COMPOSED, 1.0) for loss in LOSSES),
    *((loss, size, XLA, 1.0) for size in MANY_ROWS for loss in LOSSES),
]
# Loss, size, copy, how many times its time the fused op may take.
_NEAR = [
    ("focal", LARGE, memory_copy.NEW_TENSOR, 1.6),
    ("focal", LARGE, memory_copy.WARM, 1.6),
]
_MEMORY_UNITS = 1.2  # of logits + gradient, for each loss at LARGE


def judge(tables, memories):
    """Every goal with its figures.

    Args:
        tables: As `loss_op.time_all` returns them.
        memories: As `loss_op.peak_memories` returns them.

    Returns:
        List of dicts: `goal`; `at_least` or `at_most`; `value`, by the Loss class, and `bare_op`,
        each None where it was not measured; `met`, True, False or None.
    """
    medians = {(table["loss"], *table["size"]): table["medians"] for table in tables}
    units = {
        (memory["loss"], *memory["size"]): memory.get("units")
        for memory in memories
        if memory["contender"] == FUSED_LOSS
    }
    goals = []
    for loss, size, name, bound in _FASTER:
        times = medians.get((loss, *size), {})
        ratios = [_ratio(times, name, form) for form in (FUSED_LOSS, FUSED_OP)]
        goals.append(_goal(f"{loss} {size}: {name} / fused", "at_least", bound, *ratios))
    for loss, size, name, bound in _NEAR:
        times = medians.get((loss, *size), {})
        ratios = [_ratio(times, form, name) for form in (FUSED_LOSS, FUSED_OP)]
        goals.append(_goal(f"{loss} {size}: fused / {name}", "at_most", bound, *ratios))
    for loss in LOSSES:
        what = f"{loss} {LARGE}: peak memory / (logits + gradient)"
        goals.append(_goal(what, "at_most", _MEMORY_UNITS, units.get((loss, *LARGE)), None))
    return goals


def show(goals):
    print("\ngoals, by the Loss class (in brackets: the bare op)")
    for goal in goals:
        sign, bound = (">=", goal["at_least"]) if "at_least" in goal else ("<=", goal["at_most"])
        verdict = {True: "met", False: "missed", None: "not measured"}[goal["met"]]
        value, bare_op = (
            "" if goal[key] is None else f"{goal[key]:.2f}" for key in ("value", "bare_op")
        )
        bare_op = bare_op and f"({bare_op})"
        print(f"{goal['goal']:<58}  {sign} {bound:<4}  {value:>6} {bare_op:>8}  {verdict}")


def _ratio(times, over, under):
    return times[over] / times[under] if over in times and under in times else None


def _goal(goal, kind, bound, value, bare_op):
    met = None
    if value is not None:
        met = value >= bound if kind == "at_least" else value <= bound
    return {"goal": goal, kind: bound, "value": value, "bare_op": bare_op, "met": met}
