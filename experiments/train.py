"""Trains a ResNet on long-tailed images with a class-balanced loss: the reference protocol.

python -m experiments.train --flagfile=experiments/presets/park2022.flags --loss=focal --cb_power=1
"""

import shlex
import sys

from experiments import cli
from experiments.exports import summary
from experiments.reporting import pictures
from experiments.runs import directory, saved_epochs
from experiments.runs.figures import counted
from experiments.training import flags as train_flags
from experiments.training.settings import checked_settings


def main(argv):
    """Runs the protocol that the flags describe, unless the run is there and complete."""
    del argv
    settings = checked_settings()
    if settings["plots"]:
        pictures.rehearse()
    flags = train_flags.recorded(settings)
    defaults = train_flags.protocol_defaults()
    with directory.open_run(settings["output_dir"], flags, settings["resume"], defaults) as run:
        try:
            metrics = _finished(run) or _train(run, settings, flags)
            if settings["plots"]:
                _draw(run.folder)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_go_on(run.folder, settings)) from None
        _print_summary(run, metrics)


def _how_to_go_on(folder, settings):
    """What of an interrupted run is saved, and the command that continues it."""
    epochs = saved_epochs.saved(folder)
    of = f"of {settings['train_epochs']}"
    if (folder / "metrics.json").exists():
        words = "the run is finished and saved, but not all of its pictures are drawn"
    elif epochs is None:
        words = f"the newest checkpoint in {folder} can't be read, the one before it is tried"
    elif epochs:
        words = f"epoch {epochs} {of} is saved in {folder}"
    else:
        words = f"no epoch {of} is saved yet"
    arguments = [a for a in sys.argv[1:] if a not in ("--resume", "--noresume")]
    command = shlex.join(["python", "-m", "experiments.train", *arguments, "--resume"])
    return f"{words}; go on with\n  {command}"


def _finished(run):
    """The metrics of a run that is complete; None of another."""
    if not run.path("metrics.json").exists():
        return None
    _, metrics = directory.read_finished(run.folder)
    print(f"{run.folder} is complete:")
    return metrics


def _train(run, settings, flags):
    """Trains the run; returns its metrics."""
    from experiments.training import hparams, machine, protocol  # which imports Keras

    metrics = protocol.train(run, settings, flags)
    if machine.has_tensorflow():
        hparams.write(run, flags, metrics)
    pictures.remove(run.folder)  # of an evaluation before this one
    run.write_json("metrics.json", metrics)
    return metrics


def _draw(folder):
    """Draws the pictures; the run is whole without them, so that no error of theirs ends it."""
    try:
        pictures.draw_missing(folder)
    except Exception as error:
        print(
            f"warning: {cli.in_a_line(error).rstrip('.')}; the run is finished and saved, and the "
            "same command with --resume draws the pictures that are missing.",
            file=sys.stderr,
        )


def _print_summary(run, metrics):
    config = directory.read_config(run.folder)
    print()
    for line in summary.lines(
        metrics, config["class_counts"], config["class_weights"], config["class_names"]
    ):
        print(line)
    epochs, rate = counted(metrics["epochs"], "epoch"), metrics["images_per_second"]
    print(
        f"\n{epochs}, {metrics['train_seconds']:.0f} s of training"
        + (f", {rate:.0f} images/s" if rate else "")
        + f"; everything is in {run.folder}"
    )
    if not run.path("saved_model").exists():
        print(
            "no saved_model/ there, which on JAX takes --exports=saved_model and TensorFlow; "
            f"experiments.predict and evaluate take --saved_model={run.path('model.keras')}"
        )


if __name__ == "__main__":
    cli.run(main, groups=train_flags.GROUPS)
