"""The digits run with and without the class-balanced term, and what the term changed."""

import json
import pathlib
import subprocess
import sys
import time

from experiments import plots

PRESET = pathlib.Path(__file__).parent / "presets" / "digits.flags"


def main():
    """Trains twice, each in its own process, and compares."""
    started = time.strftime("%Y-%m-%d_%H%M%S")
    folders = {power: pathlib.Path("runs", f"demo_{started}", f"power{power}") for power in (1, 0)}
    for power, folder in folders.items():
        term = "with" if power else "without"
        print(f"\n== focal loss {term} the class-balanced term (--cb_power={power})", flush=True)
        command = [
            *(sys.executable, "-m", "experiments.train", f"--flagfile={PRESET}"),
            *("--loss=focal", f"--cb_power={power}", f"--output_dir={folder}"),
        ]
        print("$", " ".join(["python", *command[1:]]), flush=True)
        subprocess.run(command, check=True)
    picture = folders[1].parent / "comparison.png"
    plots.draw_comparison(
        {
            "power 0 (plain)": folders[0],
            "power 1 (class-balanced)": folders[1],
        },
        picture,
    )
    print(f"\npictures: {picture}, {folders[1] / 'plots'}, {folders[0] / 'plots'}")
    print(comparison(*(_metrics(folder) for folder in folders.values())))


def comparison(balanced, plain):
    """One line: what the class-balanced term changed, from two runs' metrics."""
    changes = []
    for label, key in (("few-shot", "few_accuracy"), ("balanced", "balanced_accuracy")):
        before, after = plain[key], balanced[key]
        changes.append(f"{label} accuracy {before:.3f} -> {after:.3f} ({after - before:+.3f})")
    return f"what the class-balanced term changed: {', '.join(changes)}"


def _metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


if __name__ == "__main__":
    main()
