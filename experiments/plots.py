"""Pictures of a run, drawn again from the files of its directory; learning curves of many.

python -m experiments.plots --run=RUN_DIRECTORY
python -m experiments.plots --runs=FOLDER --output=FILE.png
"""

from absl import flags

from experiments import cli

_GROUPS = {"Runs": ("run", "runs", "output")}


def main(argv):
    """Draws the pictures of the run that --run names, or the curves of those below --runs."""
    del argv
    from experiments.reporting import pictures

    run, runs, output = (flags.FLAGS[name].value for name in _GROUPS["Runs"])
    if (run is None) == (runs is None):
        raise cli.UserError("give --run, one run directory, or --runs, a folder of some.")
    if (runs is None) != (output is None):
        raise cli.UserError("--runs and --output, the PNG file to write, belong together.")
    if run is not None:
        for path in pictures.draw_all(cli.local_path("--run", run)):
            print(path)
        return
    print(pictures.draw_curves(cli.local_path("--runs", runs), cli.local_path("--output", output)))


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "Run directory, whose pictures are drawn.")
    flags.DEFINE_string(
        "runs", None, "Folder of finished runs that differ in method, loss, power and seed alone."
    )
    # Not at import: other programs have an --output too.
    flags.DEFINE_string("output", None, "With --runs: PNG file of their learning curves.")
    cli.run(main, groups=_GROUPS)
