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

import numpy as np

from cb_keras.checks import check_beta, check_gamma
from experiments.boundary import boundary_picture, boundary_training
from experiments.boundary.boundary_training import DIGITS, POWERS
from experiments.cli import UserError
from experiments.runs.outputs import output_problem, write_output
from experiments.training import machine


def check(settings):
    """Checks all settings before anything is trained.

    Raises:
        UserError: Lists every one that is out of range, contradicts another or can't be honoured.
    """
    problems = list(_problems(settings))
    if problems:
        raise UserError("\n  ".join(problems))


def table(problem, runs, settings):
    """Lines of text: the problem, then per power the class weights and the three figures."""
    digits = ", ".join(map(str, DIGITS))
    yield boundary_picture.description(settings)
    for name, labels in (("training", problem.train_labels), ("test", problem.test_labels)):
        yield f"{', '.join(map(str, np.bincount(labels)))} {name} images of the digits {digits}"
    yield f"seed {settings['seed']}, then mean ± sd of {len(runs[0])} seeds from it on"
    yield ""
    heads = "  ".join(f"{name:<17}" for name in boundary_picture.FIGURES)
    yield f"{'power':<18}  {f'weights of {digits}':<20}  {heads}".rstrip()
    for power, trained in runs.items():
        weights = " ".join(f"{weight:.4f}" for weight in trained[0].class_weights)
        cells = "  ".join(
            f"{first:.2f}  {m:.2f} ± {sd:.2f}" for first, m, sd in boundary_picture.figures(trained)
        )
        yield f"{f'{power} ({POWERS[power]})':<18}  {weights:<20}  {cells}"


def _problems(s):
    checks = {
        "cb_beta": check_beta,
        "gamma": check_gamma,
        "imbalance_factor": boundary_training.class_counts,
    }
    for name, check_value in checks.items():
        try:
            check_value(s[name])
        except ValueError as error:
            yield f"--{name}: {error}"
    if s["loss"] != "focal" and s["gamma"] != 1.0:
        yield f"--gamma={s['gamma']} has no effect on --loss={s['loss']}; it belongs to focal."
    if not 0 <= s["seed"] < 2**31:
        yield f"--seed must be in [0, 2^31), got {s['seed']}."
    if pathlib.Path(s["output"]).suffix.lower() != ".png":
        yield f"--output={s['output']} must end in .png, which is what is written."
    elif problem := output_problem(s["output"]):
        yield problem
    yield from machine.keras_problems()
    if importlib.util.find_spec("matplotlib") is None:
        yield "the picture needs matplotlib: pip install 'cb_keras[plots]'"


def main(argv):
    """Trains, prints the table and writes the picture."""
    del argv
    from absl import flags

    names = ("loss", "cb_beta", "gamma", "imbalance_factor", "seed", "output")
    settings = {name: flags.FLAGS[name].value for name in names}
    check(settings)
    problem, runs = boundary_training.train_all(settings)
    for line in table(problem, runs, settings):
        print(line)
    write_output(settings["output"], boundary_picture.png(problem, runs, settings))
    print(f"\npicture: {settings['output']}")


if __name__ == "__main__":
    from absl import flags

    from experiments import cli

    flags.DEFINE_enum("loss", "focal", ["softmax", "sigmoid", "focal"], "Loss.")
    flags.DEFINE_float("cb_beta", 0.9999, "Beta of the effective number, in [0, 1].")
    flags.DEFINE_float("gamma", 1.0, "Focusing parameter of the focal loss, >= 0.")
    flags.DEFINE_float(
        "imbalance_factor", 0.02, "Smallest / largest class size, in (0, 1]; 1: balanced."
    )
    flags.DEFINE_integer("seed", 0, "First of the seeds of the split and of the network.")
    flags.DEFINE_string("output", "decision_boundary.png", "Picture to write, a .png file.")
    cli.run(main)
