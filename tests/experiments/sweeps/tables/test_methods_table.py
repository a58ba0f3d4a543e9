"""The table of the methods: what is trained, and a row with all figures for each."""

from experiments import methods
from experiments.sweeps.tables import methods as table
from tests.experiments.sweeps.cases import rows, run

METHODS = ("--table=methods", "--output_dir=out", "--dataset=digits", "--train_epochs=20")


def test_every_method_is_a_cell_of_its_own_and_a_row_with_its_figures(work):
    made = run(*METHODS)
    assert len({job.name for job in made.jobs}) == len(table.ROWS) == len(made.jobs)
    assert {cell.settings["method"] for cell in made.cells} == {*methods.METHODS} - {
        "logit_adjusted",  # which Balanced Softmax is, with tau 1
        *("crt", "mislas"),  # which begin with a run
    }
    for cell in made.cells:
        assert not list(methods.problems(cell.settings))
    text = (work / "out" / "methods.md").read_text()
    assert "| method | accuracy | balanced | many | medium | few | ECE | NLL | s an epoch |" in text
    # What the stand-in leaves: .70 at power 1, .60 at power 0; 1 second for 20 epochs.
    found = [line for line in text.splitlines() if line.startswith("| class-balanced softmax |")]
    assert found[0].startswith("| class-balanced softmax | .7000 | .7000 |")
    assert found[0].endswith("| 0.1 | 77.5 to 79.2 |")
    assert "digits: the most accurate method is" in text
    assert {row["method"] for row in rows(work / "out")} == {
        cell.settings["method"] for cell in made.cells
    }


def test_seeds_have_means_and_deviations(work):
    run(*METHODS, "--seeds=0,1")
    text = (work / "out" / "methods.md").read_text()
    assert "mean ± standard deviation over seeds" in text
    assert "| softmax | .6050 ± .0071 |" in text
