"""Writes one HTML page about all runs below a folder: tables, charts, and how each was made.

python -m experiments.report RUNS_DIR [--output=FILE.html]

Links are followed; folders whose names begin with a dot are not searched.
"""

from absl import flags

from experiments import cli
from experiments.runs.figures import counted

_GROUPS = {"Report": ("output",)}


def main(argv):
    """Writes the report that the arguments ask for and says what is in it."""
    from experiments.reporting import page

    path, found = page.write(argv[1], flags.FLAGS.output)
    others = [
        f"{len(entries)} {word}"
        for entries, word in ((found.unfinished, "unfinished"), (found.damaged, "damaged"))
        if entries
    ]
    if after := len(found.runs) - len(found.trained):
        others.insert(0, f"{after} measured again after --posthoc")
    also = f" ({', '.join(others)})" if others else ""
    print(f"{counted(len(found.trained), 'finished run')}{also}: written to {path}")


if __name__ == "__main__":
    # Not at import: other programs have an --output too.
    flags.DEFINE_string("output", None, "HTML file; default: report.html in RUNS_DIR.")
    cli.run(main, arguments=("RUNS_DIR",), groups=_GROUPS)
