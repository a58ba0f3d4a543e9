"""How the power of the class-balanced term moves a decision boundary: one picture, one table.

    python -m experiments.decision_boundary --output=decision_boundary.png

Figure 1 of Park & Hwang 2022, made by training. scikit-learn's digits 8, 3 and 2 are cut to a long
tail and projected to two principal components, where they overlap. The same small network, from
the same initial weights and for the same number of full-batch steps, is trained with the powers 0,
0.5, 1 and 2. The test images are all those of the three digits that were not chosen for training.
The digits, the network and the steps were picked for a clear picture, not for a good score.
"""

import importlib.util
import pathlib

from absl import flags

from experiments import cli, methods
from experiments.cli import UserError
from experiments.methods.class_balanced import CB_POWER, CLASS_BALANCED
from experiments.runs.outputs import output_problem, write_output
from experiments.training import machine

_LOSSES = [loss.name for loss in CLASS_BALANCED.losses]
_OF_LOSSES = [p for loss in CLASS_BALANCED.losses for p in loss.parameters]
# The program trains with its own powers; all else that the method has is a flag.
_PARAMETERS = [p for p in (*CLASS_BALANCED.parameters, *_OF_LOSSES) if p is not CB_POWER]
GROUPS = {
    "Loss": ("loss", *(parameter.name for parameter in _PARAMETERS)),
    "Data": ("imbalance_factor", "seed"),
    "Picture": ("output",),
}


def main(argv):
    """Trains, prints the table and writes the picture."""
    del argv
    settings = {name: flags.FLAGS[name].value for names in GROUPS.values() for name in names}
    check(settings)
    from experiments.boundary import boundary_picture, boundary_table, boundary_training

    problem, runs = boundary_training.train_all(settings)
    for line in boundary_table.lines(problem, runs, settings):
        print(line)
    write_output(settings["output"], boundary_picture.png(problem, runs, settings))
    print(f"\npicture: {settings['output']}")


def check(settings):
    """Checks all settings before anything is trained.

    Raises:
        UserError: Lists every one that is out of range, contradicts another or can't be honoured.
    """
    problems = list(_problems(settings))
    if problems:
        raise UserError("\n  ".join(problems))


def _problems(s):
    from experiments.boundary import boundary_training  # which imports TensorFlow

    yield from methods.problems(s)
    try:
        boundary_training.class_counts(s["imbalance_factor"])
    except ValueError as error:
        yield f"--imbalance_factor: {error}"
    if not 0 <= s["seed"] < 2**31:
        yield f"--seed must be in [0, 2^31), got {s['seed']}."
    if pathlib.Path(s["output"]).suffix.lower() != ".png":
        yield f"--output={s['output']} must end in .png, which is what is written."
    elif problem := output_problem(s["output"]):
        yield problem
    yield from machine.keras_problems(("tensorflow",))
    if importlib.util.find_spec("matplotlib") is None:
        yield "the picture needs matplotlib: pip install 'cb_keras[plots]'"


def _define_flags():
    """Not when the module is imported: experiments.train has flags of the same names."""
    flags.DEFINE_enum("loss", "focal", _LOSSES, "Loss.")
    for parameter in _PARAMETERS:
        parameter.define_flag()
    flags.DEFINE_float(
        "imbalance_factor", 0.02, "Smallest / largest class size, in (0, 1]; 1: balanced."
    )
    flags.DEFINE_integer("seed", 0, "First of the seeds of the split and of the network.")
    flags.DEFINE_string("output", "decision_boundary.png", "Picture to write, a .png file.")


if __name__ == "__main__":
    _define_flags()
    cli.run(main, groups=GROUPS)
