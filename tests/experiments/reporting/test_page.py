"""The page of a report: what is on it, that it stands alone, and that it is only ever text."""

import html.parser
import re
import shutil

import numpy as np
import pytest

from experiments.cli import UserError
from experiments.reporting import drawing
from experiments.reporting import page as report_page
from tests.experiments.report_folders import IMAGE, SCRIPT, hostile_runs, write_run

WITHOUT = """
import runpy
import sys

sys.modules[{package!r}] = None  # importing it fails
sys.argv[0] = "report"
runpy.run_module("experiments.report", run_name="__main__")
"""


class Page(html.parser.HTMLParser):
    """A page taken apart: its elements, its text, the rows of its tables."""

    def __init__(self, path):
        super().__init__()
        self.elements, self.rows, self._words, self._in_cell = [], [], [], False
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_data(self, data):
        self._words.append(data)
        if self._in_cell:
            self.rows[-1][-1] += data

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())
            self._in_cell = False

    @property
    def text(self):
        return " ".join(" ".join(self._words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def drawn_page(tmp_path):
    """Function that reports on `tmp_path / "runs"`."""

    def make():
        path, _ = report_page.write(tmp_path / "runs", tmp_path / "page.html")
        return Page(path)

    return make


@pytest.fixture
def page(drawn_page, monkeypatch):
    """The same without its charts, which take most of the time."""
    monkeypatch.setattr(drawing, "svg", lambda *_: b"<svg/>")
    return drawn_page


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def test_the_table_has_mean_deviation_seeds_and_epochs(runs, page):
    recalls = [(0.9, 0.6, 0.3), (0.85, 0.66, 0.2)]
    for seed, r in enumerate(recalls):
        write_run(runs / f"run{seed}", r, seed=seed)
    write_run(runs / "plain", (1, 0.5, 0), cb_power=0.0)

    def cell(values):
        mean, sd = np.mean(values), np.std(values, ddof=1)
        return f"{mean:.4f} ± {sd:.4f}".replace("0.", ".")

    accuracy, many, medium, few = [
        cell(v) for v in (np.mean(recalls, axis=1), *np.transpose(recalls))
    ]
    rows = page().rows
    assert ["1", accuracy, accuracy, many, medium, few, "2", "4"] in rows
    assert ["0", ".5000", ".5000", "1.0000", ".5000", ".0000", "1", "4"] in rows
    assert ["softmax", ""] in rows


def test_the_best_of_several_powers_is_bold_where_it_is_beyond_the_spread(runs, page):
    for seed, more in enumerate((0.01, -0.01)):
        write_run(runs / f"a{seed}", (0.9, 0.6, 0.3 + more), cb_power=0, seed=seed)
        write_run(runs / f"b{seed}", (0.8, 0.61 + 2 * more, 0.6), cb_power=1, seed=seed)
        write_run(runs / f"c{seed}", (0.99, 0.99, 0.99), loss="sigmoid", seed=seed)
    made = page()
    # .61 against .60 is within the spread, and the third loss has nothing to compare.
    assert re.findall(r"<td><b>(\S+)</b>", made.source) == [".9000", ".6700", ".6700", ".6000"]
    assert "differs from each of the others by more than the spread over seeds" in made.text


def test_calibration_stands_beside_accuracy_where_it_was_measured_and_the_lowest_is_best(
    runs, page
):
    for seed, more in enumerate((0.01, -0.01)):
        for power, ece in ((0, 0.2), (1, 0.1)):
            measured = {"ece": ece + more, "nll": 1.0 + ece}
            write_run(runs / f"{power}{seed}", cb_power=power, seed=seed, metrics=measured)
    made = page()
    assert re.findall(r"<td><b>(\S+)</b>", made.source) == [".1000", "1.1000"]
    assert "calibration error</th><th" in made.source
    shutil.rmtree(runs)
    write_run(runs / "a")
    assert "alibration error" not in page().source


def test_with_one_seed_nothing_is_bold(runs, page):
    write_run(runs / "a", (0.9, 0.6, 0.3), cb_power=0)
    write_run(runs / "b", (0.8, 0.7, 0.6), cb_power=1)
    made = page()
    assert "<td><b>" not in made.source
    assert "Nothing is bold, since it may be chance." in made.text


def test_the_range_of_the_counts_is_from_the_largest_class_to_the_smallest(runs, page):
    write_run(runs / "a", config={"class_counts": [100, 10, 1000]})
    write_run(runs / "b", seed=1, config={"class_counts": [100, 11, 1000]})
    made = page()
    assert "training images 1,110 (1,000 to 10 a class)" in made.text
    names = [row[0] for row in made.rows if len(row) == 3 and row[0] in ("cat", "dog", "emu")]
    assert names == ["emu", "cat", "dog"] * 2  # the largest class first


def test_a_class_without_test_images_is_told_in_the_table(runs, page):
    confusion = [[0, 0, 0], [7, 7, 0], [0, 0, 7]]
    write_run(
        runs / "a",
        metrics={
            "accuracy": 14 / 21,
            "balanced_accuracy": 0.75,
            "per_class_accuracy": [None, 0.5, 1.0],
            "many_accuracy": ...,
            "medium_accuracy": 0.5,
            "few_accuracy": 1.0,
            "confusion_matrix": confusion,
        },
    )
    assert ["cat", "1,000", "no test images"] in page().rows


def test_unlike_runs_have_sections_of_their_own(runs, page):
    write_run(runs / "a", (0.9, 0.6, 0.3), lr_decay=0.01, seed=0)
    write_run(runs / "b", (0.6, 0.3, 0.0), lr_decay=0.1, seed=1)
    write_run(runs / "c", (0.6, 0.3, 0.0), imbalance_factor=1.0, seed=2)
    made = page()
    assert "cifar10, imbalance factor 0.01, lr_decay 0.1" in made.text
    assert "cifar10, balanced, lr_decay 0.01" in made.text
    assert len([row for row in made.rows if row[:1] == ["1"] and len(row) == 8]) == 3
    assert "±" not in made.text


def test_a_figure_that_is_null_is_a_dash(runs, page):
    write_run(runs / "a", metrics={"few_accuracy": ..., "images_per_second": ...})
    made = page()
    assert ["1", ".6000", ".6000", ".9000", ".6000", "\N{EN DASH}", "1", "4"] in made.rows
    assert "speed unknown" in made.text


def test_every_run_has_its_command_machine_speed_and_directory(runs, page):
    for seed in (0, 1):
        write_run(runs / "deep" / f"run{seed}", seed=seed)
    text = page().text
    for seed in (0, 1):
        assert f"python -m experiments.train --seed={seed} in deep/run{seed}" in text
    assert "321 images/s · Abacus 9000 · python 3.11.7, keras 3.15.1" in text


def test_a_run_that_went_on_elsewhere_is_told_to_have(runs, page):
    here = {"versions": {"keras": "3.15.1"}, "resolved": {}, "variables": {}}
    begun, elsewhere = ({**here, "device": [device]} for device in ("Abacus 1", "Abacus 9000"))
    went_on = [{"first_epoch": 1, **begun}, {"first_epoch": 3, **elsewhere}]
    write_run(runs / "a", config={"sessions": went_on})
    line = "epochs 1 to 2 were trained on Abacus 1, now on Abacus 9000: the last bits may differ"
    assert line in page().text


def test_a_repeated_run_is_told_to_be_one(runs, page):
    write_run(runs / "a")
    write_run(runs / "b")
    assert "The same settings and seed as a : not counted." in page().text


def test_each_chart_is_there_and_described(runs, drawn_page):
    for loss in ("softmax", "focal"):
        for power in (0, 0.5):
            write_run(runs / f"{loss}{power}", loss=loss, cb_power=power)
    made = drawn_page()
    images = made.all("img")
    descriptions = [image["alt"] for image in images]
    # Two losses: curves and class accuracy of each; weights; the power curves; four matrices.
    assert len(images) == 2 + 2 + 1 + 1 + 4
    assert len(made.all("source")) == 1  # the power curves for a narrow page
    assert all(image["src"].startswith("data:image/svg+xml;base64,") for image in images)
    assert len(set(descriptions)) == len(descriptions)
    assert (
        "Learning curves of focal, gamma 1: training loss and test accuracy by epoch, a line a "
        "power (0, 0.5)."
    ) in descriptions


def test_charts_that_would_show_nothing_are_left_out(runs, page):
    write_run(runs / "a", imbalance_factor=1.0, config={"class_counts": [500, 500, 500]})
    descriptions = [image["alt"] for image in page().all("img")]
    assert len(descriptions) == 2  # the learning curves, the confusion matrix


def test_the_shot_rule_is_explained(runs, page):
    write_run(runs / "a")
    write_run(runs / "b", seed=1, lr_decay=1.0, config={"shot_rule": "thirds"})
    write_run(runs / "c", seed=2, lr_decay=0.5, config={"shot_rule": "moved_thirds"})
    text = page().text
    assert "Many shot is above 100 training images" in text
    assert "thirds of the classes by rank in training images, since no class" in text
    assert "each cut is moved to the nearest change" in text


def test_runs_whose_shot_groups_follow_another_rule_are_not_averaged(runs, page):
    write_run(runs / "old", seed=0, config={"shot_rule": "thirds"})
    write_run(runs / "new", seed=1, config={"shot_rule": "moved_thirds"})
    text = page().text
    assert "since no class has fewer than 20." in text
    assert "each cut is moved to the nearest change" in text


def test_runs_of_which_the_data_are_not_known_are_told_in_the_title(runs, page):
    write_run(runs / "old", seed=0)
    assert "data not recorded" not in page().text  # there are no others to tell it from
    for seed, pixels in enumerate("ab"):
        data = {"name": "cifar10", "train": {"pixels": pixels}}
        write_run(runs / pixels, seed=seed, config={"data": data})
    assert re.findall("<h2.*?>(.*data not recorded)</h2>", page().source) == [
        "cifar10, imbalance factor 0.01, data not recorded"
    ]


def test_unfinished_and_damaged_runs_are_listed(runs, page):
    write_run(runs / "begun", None, epochs=3)
    (write_run(runs / "broken") / "metrics.json").write_text("{")
    text = page().text
    assert "0 finished runs" in text
    assert "begun : 3 of 4 epochs" in text
    assert "broken : metrics.json is not valid JSON" in text


def test_tables_of_a_sweep_are_shown(runs, page):
    write_run(runs / "a")
    (runs / "table2.md").write_text(
        "# Table 2: cifar10\n\n    python -m experiments.sweep\n\n| loss | 0 |\n|---|---|\n"
        "| softmax | .6510 ± .0032 |\n\n- CB > none: holds.\n"
    )
    (runs / "notes.md").write_text("not a table of ours")
    made = page()
    assert ["loss", "0"] in made.rows
    assert ["softmax", ".6510 ± .0032"] in made.rows
    assert "Table 2: cifar10 python -m experiments.sweep" in made.text
    assert "CB > none: holds." in made.text
    assert "not a table of ours" not in made.text


def test_whatever_a_run_directory_holds_stays_text_and_the_page_needs_nothing_else(
    runs, drawn_page
):
    hostile_runs(runs)
    made = drawn_page()
    assert not made.all("script")
    assert {image["src"][:26] for image in made.all("img")} == {"data:image/svg+xml;base64,"}
    allowed = {
        *("href", "src", "alt", "style", "class", "id", "name", "content", "charset", "lang"),
        *(
            "srcset",
            "media",
            "http-equiv",
            "scope",
            "colspan",
            "role",
            "tabindex",
            "aria-label",
            "aria-labelledby",
        ),
        "open",
    }
    assert {name for _, attributes in made.elements for name in attributes} <= allowed
    for text in (SCRIPT, IMAGE):
        assert f"python {text}" in made.text
        assert f"run{text}" in made.text
    assert [SCRIPT, "1,000"] in [row[:2] for row in made.rows]
    assert [IMAGE, "100"] in [row[:2] for row in made.rows]
    assert not {tag for tag, _ in made.elements} & {"link", "iframe", "object", "embed", "base"}
    for _, attributes in made.elements:
        for name in ("src", "href", "srcset"):
            assert re.match("data:|#|$", attributes.get(name, ""))
        assert "url(" not in attributes.get("style", "")
    (style,) = re.findall("<style>.*?</style>", made.source, re.DOTALL)
    assert not re.search(r"url\(|@import", style)
    (policy,) = [m["content"] for m in made.all("meta") if "http-equiv" in m]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_the_same_runs_give_the_same_bytes(runs, page, tmp_path):
    write_run(runs / "a")
    first, _ = report_page.write(runs)
    assert first == runs / "report.html"
    page()
    assert first.read_bytes() == (tmp_path / "page.html").read_bytes()


def test_no_run_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no run; give the --output_dir of a run or a sweep"):
        report_page.write(tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="is not a folder"):
        report_page.write(tmp_path / "absent")


def test_an_output_that_cannot_be_written_is_an_error(runs, tmp_path):
    write_run(runs / "a")
    with pytest.raises(UserError, match=r"absent: No such file or directory\); choose another"):
        report_page.write(runs, tmp_path / "absent" / "page.html")
    with pytest.raises(UserError, match="is a folder; name a file"):
        report_page.write(runs, runs)


def test_a_real_run_is_reported(digits_run, tmp_path):
    folder = tmp_path / "runs" / "digits"
    folder.mkdir(parents=True)
    for name in ("config.json", "metrics.json", "history.csv"):
        shutil.copy(digits_run.folder / name, folder)
    path, found = report_page.write(tmp_path / "runs")
    assert (len(found.runs), found.damaged, found.unfinished) == (1, [], [])
    made = Page(path)
    accuracy = f"{digits_run.metrics['accuracy']:.4f}".removeprefix("0")
    assert any(row[1:2] == [accuracy] for row in made.rows)
    # Learning curves, weights, class accuracy, reliability, confusion matrix.
    assert len(made.all("img")) == 5


def test_the_program_says_what_it_wrote(run_python, runs, tmp_path):
    write_run(runs / "a")
    write_run(runs / "b", None)
    page = tmp_path / "page.html"
    done = run_python("-m", "experiments.report", runs, f"--output={page}")
    assert (done.returncode, done.stdout) == (
        0,
        f"1 finished run (1 unfinished): written to {page}\n",
    )
    assert page.stat().st_size > 10_000


@pytest.mark.parametrize("package", ["jinja2", "matplotlib", "markdown_it"])
def test_a_missing_extra_is_told_in_one_line(run_python, runs, package):
    write_run(runs / "a")
    done = run_python("-c", WITHOUT.format(package=package), runs)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "error: the report needs matplotlib, jinja2 and markdown-it-py: "
        "pip install 'cb_keras[report]'"
    )
    assert "Traceback" not in done.stderr
