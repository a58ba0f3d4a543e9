"""The HParams tab of TensorBoard: what it shows of runs, read back by TensorBoard itself."""

import types

import pytest
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.context import RequestContext
from tensorboard.plugins import base_plugin
from tensorboard.plugins.hparams import api_pb2, backend_context, list_session_groups

from experiments.runs.directory import RunDirectory
from experiments.training import flags as train_flags
from experiments.training import hparams
from tests.experiments.report_folders import metrics_of

COLUMNS = {"accuracy", "balanced_accuracy", "many_accuracy", "medium_accuracy", "few_accuracy"}


def tab(logdir):
    """What the tab shows of a folder: dict of session to its settings and its figures."""
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(logdir))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(logdir))
    context = backend_context.Context(
        base_plugin.TBContext(data_provider=provider, flags=types.SimpleNamespace())
    )
    asked = api_pb2.ListSessionGroupsRequest(
        slice_size=99, aggregation_type=api_pb2.AGGREGATION_AVG
    )
    asked.allowed_statuses.append(api_pb2.STATUS_SUCCESS)
    groups = list_session_groups.Handler(RequestContext(), context, "", asked).run().session_groups
    return {
        group.name: (
            {n: getattr(value, value.WhichOneof("kind")) for n, value in group.hparams.items()},
            {value.name.tag: value.value for value in group.sessions[0].metric_values},
        )
        for group in groups
    }


@pytest.fixture
def write(tmp_path):
    def write(name, metrics, **changed):
        run = RunDirectory(tmp_path / name)
        hparams.write(run, {**train_flags.protocol_defaults(), **changed}, metrics)

    return write


def test_the_tab_shows_the_settings_and_figures_of_each_run(write, tmp_path):
    figures = metrics_of([0.9, 0.5, 0.25])
    write("a", figures, loss="focal", cb_power=2.0, gamma=0.5, depth=8, balanced_lr_decay=None)
    write("b", {**figures, "medium_accuracy": None}, long_tail="natural", seed=3)
    shown = tab(tmp_path)
    assert {*shown} == {"a", "b"}
    settings, found = shown["a"]
    assert found == pytest.approx({name: figures[name] for name in COLUMNS})
    for name, value in {"loss": "focal", "cb_power": 2, "gamma": 0.5, "depth": 8}.items():
        assert settings[name] == value
    assert settings["imbalance_factor"] == 0.02
    assert "batch_size" not in settings  # as in the protocol
    settings, found = shown["b"]
    assert {*found} == COLUMNS - {"medium_accuracy"}
    assert (settings["long_tail"], settings["seed"]) == ("natural", 3)
    assert not {"gamma", "imbalance_factor", "balanced_lr_decay"} & {*settings}  # without effect


def test_a_run_that_is_written_again_is_shown_once_with_its_last_figures(write, tmp_path):
    for recall in (0.5, 0.75):
        write("a", metrics_of([recall, recall]))
    assert len([*tmp_path.rglob("*tfevents*")]) == 1
    ((_, found),) = tab(tmp_path).values()
    assert found["accuracy"] == pytest.approx(0.75)
