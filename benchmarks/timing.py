"""Timing side by side, medians, tables: shared by all benchmarks."""

import json
import pathlib
import platform
import statistics
import time

from experiments.training.machine import cores_in_words


def rate_of(step, seconds=3.0):
    """Calls of `step` per second, over about `seconds`, after two warm-up calls."""
    step()
    step()
    calls, start = 0, time.perf_counter()
    while True:
        step()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return calls / elapsed


def milliseconds_of(step, seconds=0.2):
    """Milliseconds of one call of `step`, on average over `seconds`, after two warm-up calls."""
    return 1000.0 / rate_of(step, seconds)


def alternate(measurements, repetitions, verbose=True):
    """Runs the measurements in turn, in rounds, so that drift affects all of them equally.

    Args:
        measurements: Dict of name to a function that returns a rate, or a time.
        repetitions: Rounds.
        verbose: Whether to print each figure on the way.

    Returns:
        Dict of name to the list of its figures.
    """
    figures = {name: [] for name in measurements}
    for i in range(repetitions):
        for name, measure in measurements.items():
            figures[name].append(measure())
            if verbose:
                print(f"  round {i + 1}/{repetitions}  {name}: {figures[name][-1]:.1f}", flush=True)
    return figures


def machine():
    """The machine in a few words."""
    return f"{platform.machine()}, {cores_in_words()}"


def report(title, rates, limit, unit, json_file=None):
    """Prints medians, ranges and ratios to the median of `limit`; writes them to `json_file`."""
    medians = {name: statistics.median(values) for name, values in rates.items()}
    width = max(map(len, rates))
    print(f"\n{title}\n{'':<{width}}  {unit:>10}  {'min - max':>17}  ratio to {limit}")
    for name, values in rates.items():
        spread = f"{min(values):.1f} - {max(values):.1f}"
        ratio = medians[name] / medians[limit]
        print(f"{name:<{width}}  {medians[name]:>10.1f}  {spread:>17}  {ratio:.3f}")
    result = {
        "title": title,
        "unit": unit,
        "limit": limit,
        "machine": machine(),
        "rates": rates,
        "medians": medians,
        "ratios": {name: median / medians[limit] for name, median in medians.items()},
    }
    if json_file:
        pathlib.Path(json_file).write_text(json.dumps(result, indent=2) + "\n")
    return result
