"""The lines that programs print of a model's metrics."""

from experiments.exports import summary

COUNTS = [200, 50, 5]


def lines(per_class, names=("cat", "dog", "a very long name"), **groups):
    figures = {
        "per_class_accuracy": per_class,
        **{"accuracy": 0.5, "balanced_accuracy": 0.25, "many_accuracy": 0.125},
        **{"medium_accuracy": 0.0625, "few_accuracy": None, **groups},
    }
    return list(summary.lines(figures, COUNTS, [0.1, 0.9, 2.0], names))


def test_the_table_has_count_weight_and_accuracy_of_every_class():
    table = lines([1.0, 0.25, None])
    assert table[0].split() == ["class", "train", "images", "weight", "accuracy"]
    assert table[1].split() == ["cat", "200", "0.1000", "1.0000"]
    assert table[2].split() == ["dog", "50", "0.9000", ".2500"]
    assert table[3].split() == ["a", "very", "long", "name", "5", "2.0000", "-"]
    assert len({len(line) for line in table[:4]}) == 1  # columns are aligned
    assert [line.split()[-1] for line in table[5:]] == [
        ".5000",
        ".2500",
        ".1250",
        ".0625",
        "-",
    ]


def test_the_table_names_its_summary_figures():
    assert [" ".join(line.split()[:-1]) for line in lines([1.0, 0.25, None])[5:]] == [
        "accuracy",
        "balanced accuracy",
        "many accuracy",
        "medium accuracy",
        "few accuracy",
    ]


def test_a_table_of_one_class_can_be_printed():
    figures = {"per_class_accuracy": [1.0], "accuracy": 1.0, "balanced_accuracy": 1.0}
    figures |= {"many_accuracy": None, "medium_accuracy": 1.0, "few_accuracy": None}
    assert list(summary.lines(figures, [50], [1.0], ["it"]))[1].split()[0] == "it"


def test_of_very_many_classes_the_largest_and_the_smallest_have_a_line():
    counts = list(range(1, 301))
    figures = {"per_class_accuracy": [None] * 300, "accuracy": 1.0, "balanced_accuracy": 1.0}
    figures |= {"many_accuracy": None, "medium_accuracy": 1.0, "few_accuracy": None}
    names = [f"c{count}" for count in counts]
    table = list(summary.lines(figures, counts, [1.0] * 300, names))
    shown = [line.split()[0] for line in table[1:22]]
    assert shown[:10] == [f"c{count}" for count in range(300, 290, -1)]
    assert table[11] == "... 280 classes of sizes in between"
    assert shown[11:] == [f"c{count}" for count in range(10, 0, -1)]
    assert table[22] == ""


def test_intervals_by_few_test_images_are_said_to_be_too_narrow():
    found = {"level": 0.95, "accuracy": [0.4, 0.6]}
    enough = lines([1.0, 0.25, None], intervals=found, support=[90, 10, 0])[-1]
    assert enough == "[ ]: 95% bootstrap intervals over the test images; no errors give no width"
    few = lines([1.0, 0.25, None], intervals=found, support=[90, 9, 0])[-1]
    assert few == f"{enough}; the rarest class has 9 test images, too few: they are too narrow"
