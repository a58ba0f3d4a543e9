"""The settings and final figures of a run, for the HParams tab of TensorBoard."""

import io
import time

from experiments import methods
from experiments.runs import atomic, naming, recipe, tails
from experiments.training import flags as train_flags

# TensorBoard takes every file with "tfevents" in its name; one name is one file, however often
# a run is evaluated.
FOLDER, FILE = "hparams", "events.out.tfevents.0.hparams"
_FIGURES = (
    *("accuracy", "balanced_accuracy", "many_accuracy", "medium_accuracy", "few_accuracy"),
    *("macro_f1", "ece", "nll"),
)


def write(run, flags, metrics):
    """Writes `tensorboard/hparams/` of a run, in place of what was there.

    Args:
        run: `RunDirectory`.
        flags: Its recorded flags.
        metrics: The content of its `metrics.json`.
    """
    folder = run.path("tensorboard") / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    content = _events(_settings(flags), metrics, run.folder.name)
    atomic.write_atomically(folder / FILE, content)


def _settings(flags):
    """What tells runs apart: what their names tell, and flags that differ from the protocol's.

    A parameter without effect is left out, as is the factor of a natural tail.
    """
    usual = train_flags.protocol_defaults()
    effective = {p.name for p in methods.of(flags).parameters_of(flags)}
    left_out = {*methods.PARAMETERS} - effective
    if flags["long_tail"] != tails.EXPONENTIAL:
        left_out.add("imbalance_factor")
    return {
        name: value if isinstance(value, str | bool | int | float) else naming.exact(value)
        for name, value in flags.items()
        if value is not None
        and name not in left_out
        and (name in naming.IN_NAME - {*recipe.OFF} or value != usual.get(name))
    }


def _events(settings, metrics, name):
    """The content of an event file."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.plugins.hparams import summary as hparams
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    now = time.time()
    start = hparams.session_start_pb(
        settings, group_name=name, start_time_secs=now - metrics["train_seconds"]
    )
    scalars = [
        scalar_pb(figure, metrics[figure]) for figure in _FIGURES if metrics.get(figure) is not None
    ]
    end = hparams.session_end_pb(hparams.api_pb2.STATUS_SUCCESS, end_time_secs=now)
    file = io.BytesIO()
    records = RecordWriter(file)
    records.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    for summary in (start, *scalars, end):
        event = Event(wall_time=now, step=metrics["epochs"])
        event.summary.MergeFromString(summary.SerializeToString())
        records.write(event.SerializeToString())
    return file.getvalue()
