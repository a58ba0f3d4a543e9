"""What a sweep refuses, before anything is trained or written."""

import json

import pytest

from experiments import cli, sweep
from experiments.cli import UserError
from experiments.runs.lock import Lock
from tests.experiments.cases import call
from tests.experiments.sweeps.cases import TABLE_2, prepare, record_data, run


def test_a_finished_cell_with_foreign_figures_is_refused_before_anything_is_done(work):
    made = run(*TABLE_2)
    before = (work / "out" / "results.csv").read_text()
    (made.jobs[3].folder / "metrics.json").write_text('{"accuracy": 0.5}')
    (made.jobs[5].folder / "metrics.json").unlink()
    (work / "calls.txt").unlink()
    with pytest.raises(UserError, match=r"power2_.*is not a finished run of experiments.train"):
        run(*TABLE_2)
    assert not (work / "calls.txt").exists()
    assert (work / "out" / "results.csv").read_text() == before


def test_an_edited_accuracy_gets_into_no_table(work):
    made = run(*TABLE_2)
    path = made.jobs[3].folder / "metrics.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "accuracy": 0.99}))
    before = (work / "out" / "table2.md").read_text()
    with pytest.raises(UserError, match=r"`accuracy` is 0\.99, but its confusion_matrix"):
        run(*TABLE_2)
    assert (work / "out" / "table2.md").read_text() == before


def test_what_a_flagfile_says_of_a_varied_flag_gives_way(work, monkeypatch):
    (work / "own.flags").write_text("--cb_power=0.5\n--cb_beta=0.99\n")
    monkeypatch.setattr(cli, "is_only_in_a_flagfile", lambda name: name == "cb_power")
    made = run("--grid=cb_power=0,1", "--flagfile=own.flags", *TABLE_2[1:], "--loss=softmax")
    found = [(c.settings["cb_power"], c.settings["cb_beta"]) for c in made.cells]
    assert found == [(0.0, 0.99), (1.0, 0.99)]


PARAMETERS = ("--table=parameters", "--validation_fraction=0.1", *TABLE_2[1:])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*PARAMETERS, "--tuned=MiSLAS", "--mixup_alpha=0.2"], "table=parameters, which varies it"),
        ([*PARAMETERS, "--tuned=CDT", "--ema=0.9"], "--ema can't be given with --table=parameters"),
        (
            [*PARAMETERS, "--tuned=Balanced Softmax with strong recipe", "--lr_decay=0.5"],
            "--lr_decay=0.5 has no effect: every row has its own; leave it out.",
        ),
    ],
)
def test_a_flag_that_rows_of_a_preset_would_take_no_notice_of_is_refused(work, arguments, words):
    with pytest.raises(UserError, match=words):
        run(*arguments)


def test_a_flag_that_some_rows_have_of_their_own_is_told(work, capsys):
    made = prepare(*PARAMETERS, "--tuned=MiSLAS", "--learning_rate=0.25")
    assert [cell.settings["learning_rate"] for cell in made.cells] == [0.25, *[0.1] * 5]
    told = "--learning_rate=0.25 is not of these rows, which have their own: MiSLAS, smooth_head 0."
    assert told in capsys.readouterr().out
    prepare("--table=methods", *TABLE_2[1:], "--rows=softmax,VS", "--learning_rate=0.25")
    assert "is not of these rows" not in capsys.readouterr().out


def test_gamma_for_another_loss_than_focal_is_refused_in_a_power_curve(work):
    with pytest.raises(UserError, match=r"--gamma=2.0 has no effect on --loss=softmax"):
        run("--table=power", *TABLE_2[1:], "--loss=softmax", "--gamma=2")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds=0"], "--table is missing: 1, 2, power, methods or parameters; --grid has"),
        (["--table=2", "--grid=gamma=1"], "--table and --grid can't be given together"),
        (["--grid=gamma=1,2", "--gamma=1"], "--gamma can't be given with --grid, which varies it"),
        (["--grid=gama=1"], "did you mean gamma?"),
        (["--grid=gamma=1,2", "--balanced_epochs=3"], "belongs to --table=1"),
        (
            ["--grid=gamma=1,-2", "--loss=focal"],
            "the cell gamma=-2: --gamma: `gamma` must be a finite number >= 0, got -2.0",
        ),
        (
            ["--grid=loss=focal,softmax;gamma=1,2"],
            "the cell loss=softmax, gamma=2: --gamma=2.0 has no effect on --loss=softmax",
        ),
        (
            ["--grid=depth=8,9,10", "--seeds=0,1"],
            "the cell depth=9, seed=0 and 1 other: --depth: `depth` must be 6n + 2",
        ),
        (
            ["--grid=lr_boundaries=0.5|0.50"],
            "the cells lr_boundaries=0.5 and lr_boundaries=0.50 are one run,",
        ),
        (["--grid=seed=0,1"], "use --seeds"),
        (
            [f"--grid=learning_rate={','.join(map(str, range(1, 502)))}", "--seeds=0,1"],
            "--grid has 1002 cells, the seeds counted",
        ),
        (["--table=2"], "--output_dir is missing: the folder of the sweep"),
        (["--table=2", "--loss=focal"], "--loss can't be given with --table=2"),
        (["--table=1", "--cb_power=1"], "--cb_power can't be given with --table=1"),
        (["--table=power", "--cb_power=1"], "--cb_power can't be given with --table=power"),
        (["--table=2", "--seed=1"], "use --seeds"),
        (["--table=2", "--seeds=0,a"], "--seeds must be different whole numbers"),
        (["--table=2", "--seeds=1,1"], "--seeds must be different whole numbers"),
        (["--table=2", "--seeds=-1"], "--seed must be in [0, 2^31), got -1"),
        (["--table=2", "--seeds="], "--seeds must be different whole numbers"),
        (["--table=2", "--jobs=0"], "--jobs must be between 1 and"),
        (["--table=2", "--jobs=100000"], "--jobs must be between 1 and"),
        (["--table=2", "--retries=-1"], "--retries must be at least 0"),
        (["--table=2", "--balanced_epochs=3"], "it must be at least 1, and belongs to --table=1"),
        (["--table=1", "--balanced_epochs=0"], "it must be at least 1"),
        (["--table=1", "--imbalance_factor=1"], "--imbalance_factor below 1"),
        (["--table=1", "--dataset=tfds:mine"], "--imbalance_factor below 1"),
        (["--table=2", "--depth=9"], "--depth: `depth` must be 6n + 2"),
        (["--table=2", "--noresume"], "--noresume can't be given to a sweep"),
    ],
)
def test_flags_that_are_wrong_are_refused_before_anything_is_written(work, arguments, message):
    if arguments != ["--table=2"]:
        arguments = [*arguments, "--output_dir=out"]
    with pytest.raises(UserError) as caught:
        call(sweep.main, *arguments)
    assert message in str(caught.value)
    assert not (work / "out").exists()
    assert not (work / "calls.txt").exists()


def test_what_is_wrong_with_all_cells_names_none_of_them(work):
    with pytest.raises(UserError) as caught:
        call(sweep.main, "--grid=cb_power=0,1", "--depth=9", "--output_dir=out")
    assert str(caught.value).startswith("--depth: `depth` must be 6n + 2")
    assert not (work / "out").exists()


def test_a_folder_that_can_not_be_made_is_refused(work):
    (work / "file").write_text("not a folder")
    with pytest.raises(UserError, match="--output_dir=file/out can't be written"):
        run(*TABLE_2[:1], "--output_dir=file/out", "--dataset=digits")


def test_a_folder_with_runs_of_other_settings_is_refused_by_name(work):
    run(*TABLE_2)
    before = (work / "out" / "results.csv").read_bytes()
    for arguments in (TABLE_2, ("--table=1", *TABLE_2[1:])):
        with pytest.raises(UserError) as caught:
            call(sweep.main, *arguments, "--momentum=0.8")
        assert "--momentum is 0.9 there, 0.8 here" in str(caught.value)
    assert (work / "out" / "results.csv").read_bytes() == before


def test_runs_on_different_data_are_never_put_into_one_table(work):
    made = run(*TABLE_2)
    before = (work / "out" / "table2.md").read_bytes()
    data = {"name": "digits", "train": {"images": 20, "labels": "a", "pixels": "b"}}
    for job in made.jobs[1:]:  # the first is of an older version, which recorded none
        record_data(job, data)
    run(*TABLE_2)
    record_data(made.jobs[5], {**data, "train": {**data["train"], "pixels": "c"}})
    with pytest.raises(UserError, match=r"different data \(other pixels in the train images\)"):
        run(*TABLE_2)
    assert (work / "out" / "table2.md").read_bytes() == before


def test_a_sweep_is_not_continued_on_a_newer_version_of_its_data(work, write_tfds):
    arguments = ("--table=2", "--output_dir=out", "--dataset=tfds:tiny", "--data_dir=data")
    write_tfds(work / "data", "tiny", {"train": slice(0, 20), "test": slice(0, 5)}, "1.1.0")
    made = run(*arguments)
    assert "long_tail natural instead of exponential" in (work / "out" / "table2.md").read_text()
    for job in made.jobs:
        record_data(job, {"name": "tfds:tiny:1.0.0"})
    run(*arguments)  # only writes the tables again
    (made.jobs[3].folder / "metrics.json").unlink()
    (work / "calls.txt").unlink()
    with pytest.raises(UserError) as caught:
        run(*arguments)
    assert "the data set is tfds:tiny:1.0.0 there, tfds:tiny:1.1.0 here" in str(caught.value)
    assert "mix: point --data_dir at the data of the runs that are there," in str(caught.value)
    assert not (work / "calls.txt").exists()


def test_two_sweeps_do_not_work_in_one_folder(work, monkeypatch):
    (work / "out").mkdir()
    held = Lock(work / "out")
    monkeypatch.setattr(Lock.__init__, "__defaults__", (0.1,))
    with pytest.raises(UserError, match="another process is at work in out"):
        run(*TABLE_2)
    held.release()
    run(*TABLE_2)
