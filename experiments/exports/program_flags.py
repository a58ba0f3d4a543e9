"""Flags that several programs have which use an exported model."""

import os

from absl import flags

from experiments import cli
from experiments.exports import scores
from experiments.runs import outputs


def define(*names):
    """Defines flags that several programs have, where no program before did."""
    for name in names:
        if name not in flags.FLAGS:
            _FLAGS[name](name)


def _saved_model(name):
    flags.DEFINE_string(name, None, "SavedModel folder in a run directory, or its model.keras.")


def _output(name):
    flags.DEFINE_string(name, None, "JSON file for the results.")


def _probabilities(name):
    flags.DEFINE_enum(
        name,
        scores.NORMALIZED,
        list(scores.FORMS),
        "Probabilities of a sigmoid head (losses sigmoid and focal), which has one yes or no a "
        "class: over their sum, or raw as in the SavedModel. Those of a softmax sum to 1 as they "
        "are.",
    )


_FLAGS = {"saved_model": _saved_model, "output": _output, "probabilities": _probabilities}


def check_saved_model(value):
    """The path that `--saved_model` names; raises UserError where there is none to load."""
    if not value:
        raise cli.UserError("--saved_model is missing; give the saved_model/ of a run directory.")
    path = cli.local_path("--saved_model", value)
    if path.suffix != ".keras":
        cli.check_loadable("--saved_model", path)
        _check_exported(path)
    return path


def _check_exported(path):
    """Raises UserError where a SavedModel is asked for of a run that has its model.keras alone."""
    # os.path says no of what can't be looked at, whose own error comes when it is read.
    run = path if os.path.isdir(path) else path.parent
    has_one = os.path.exists(path / "saved_model.pb") or os.path.exists(run / "saved_model")
    if not has_one and os.path.isfile(run / "model.keras"):
        raise cli.UserError(
            f"--saved_model={path}: the run in {run} has no SavedModel, which is written on JAX "
            f"with --exports=saved_model alone: give --saved_model={run / 'model.keras'}; or "
            "delete metrics.json of that run and continue it with --resume --exports=saved_model."
        )


def check_output(value, name="--output"):
    """Raises UserError where no file can be written there."""
    if value and (problem := outputs.output_problem(value, name)):
        raise cli.UserError(problem)
