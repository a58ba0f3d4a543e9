"""Pictures of a run, drawn again from the files of its directory.

python -m experiments.plots --run=RUN_DIRECTORY
"""

from absl import flags

from experiments import cli

_GROUPS = {"Run": ("run",)}


def main(argv):
    """Draws the pictures of the run that --run names."""
    del argv
    from experiments.reporting import pictures

    for path in pictures.draw_all(cli.local_path("--run", flags.FLAGS.run)):
        print(path)


if __name__ == "__main__":
    flags.DEFINE_string("run", None, "Run directory.", required=True)
    cli.run(main, groups=_GROUPS)
