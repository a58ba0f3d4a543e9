"""What benchmarks.frameworks prints of its figures, and the goals that it judges."""

import statistics

from benchmarks.frameworks.contenders import COMPOSED, COPIES, KERAS, LOSSES_OF, OURS

LARGE = [4096, 8142]
_FASTER = {"focal": 5.0, "softmax": 3.0}  # at LARGE, than the best that the framework offers
_NEAR = 1.35  # at LARGE, of the copies' time


def medians(table):
    """`{(framework, mode, contender): milliseconds}`."""
    return {
        (of["framework"], of["mode"], of["contender"]): statistics.median(of["milliseconds"])
        for of in table["figures"]
        if of["milliseconds"]
    }


def columns(table):
    """`(framework, mode)` of the table, in order."""
    return list(dict.fromkeys((of["framework"], of["mode"]) for of in table["figures"]))


def ratios(table):
    """Per column, a dict: `framework`, `mode`; `best` and `keras`, the other contenders' best and
    Keras' built-in over ours; `copies`, ours over each copy. None where there is no figure.
    """
    times, found = medians(table), []
    for framework, mode in columns(table):
        ours = times.get((framework, mode, OURS))
        others = [times.get((framework, mode, name)) for name in (COMPOSED, KERAS)]
        others = [time for time in others if time is not None]
        copies = {
            copy: next((t for (f, _, c), t in times.items() if (f, c) == (framework, copy)), None)
            for copy in COPIES
        }
        found.append(
            {
                "framework": framework,
                "mode": mode,
                "best": min(others) / ours if ours and others else None,
                "keras": _ratio(times.get((framework, mode, KERAS)), ours),
                "copies": {
                    name: ours / time if ours and time else None for name, time in copies.items()
                },
            }
        )
    return found


def _ratio(over, under):
    return over / under if over and under else None


def judge(tables):
    """Every goal: a dict of `goal`, `at_least` or `at_most`, `value` and `met`, None unmeasured."""
    goals = []
    for table in tables:
        head = f"{table['loss']} {tuple(table['size'])} {table['dtype']}"
        large = table["size"] == LARGE
        for of in ratios(table):
            where = f"{head}, {of['framework']} {of['mode']}"
            bound = _FASTER.get(table["loss"], 1.0) if large else 1.0
            goals.append(_goal(f"{where}: best other / ours", "at_least", bound, of["best"]))
            goals.append(_goal(f"{where}: Keras built-in / ours", "at_least", 1.0, of["keras"]))
            for copy, value in of["copies"].items() if large else ():
                goals.append(_goal(f"{where}: ours / {copy}", "at_most", _NEAR, value))
    return goals


def _goal(goal, kind, bound, value):
    met = None
    if value is not None:
        met = value >= bound if kind == "at_least" else value <= bound
    return {"goal": goal, kind: bound, "value": value, "met": met}


def show(table):
    """Prints one table: a row a contender, a column a framework's mode, then the ratios."""
    times, heads = medians(table), columns(table)
    names = [" ".join(head) for head in heads]
    widths = [max(9, len(name)) for name in names]
    title = f"{table['loss']} {tuple(table['size'])} {table['dtype']}, ms"
    _row(title, names, widths)
    for contender in (*LOSSES_OF, *COPIES):
        cells = [times.get((*head, contender)) for head in heads]
        if any(cell is not None for cell in cells):
            _row(contender, [_figure(cell) for cell in cells], widths)
    found = ratios(table)
    _row("best other / ours", [_figure(of["best"], "x") for of in found], widths)
    _row("Keras built-in / ours", [_figure(of["keras"], "x") for of in found], widths)
    for copy in COPIES:
        cells = [of["copies"][copy] for of in found]
        if any(cell is not None for cell in cells):
            _row(f"ours / {copy}", [_figure(cell, "x") for cell in cells], widths)
    reasons = {}
    for of in table["missing"]:
        reasons.setdefault((of["contender"], of["framework"], of["why"]), []).append(of["mode"])
    for (contender, framework, why), modes in reasons.items():
        print(f"  not available: {contender} on {framework} ({', '.join(modes)}): {why}")
    print(flush=True)


def _row(name, cells, widths):
    cells = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
    print(f"{name:<38}{cells}")


def _figure(value, unit=""):
    return "" if value is None else f"{value:.4g}{unit}"


def show_goals(goals):
    """Prints the goals that are missed or were not measured, and counts those that are met."""
    for goal in goals:
        if goal["met"]:
            continue
        sign, bound = (">=", goal["at_least"]) if "at_least" in goal else ("<=", goal["at_most"])
        verdict = "not measured" if goal["met"] is None else f"missed: {goal['value']:.2f}"
        print(f"{goal['goal']} {sign} {bound}  {verdict}")
    print(f"{sum(goal['met'] is True for goal in goals)} of {len(goals)} goals met")
