"""The sentence that says what won: only where the spread over seeds allows it."""

from experiments.reporting import found, sections, verdict
from tests.experiments.report_folders import metrics_of, write_run


def told(folder):
    below = found.find(folder)
    assert below.damaged == []
    ((section,), _) = sections.sections(below.runs)
    return verdict.in_words(section)


def write(folder, balanced, power=1.0, validation=None, **flags):
    """Runs of one power, a seed for each balanced accuracy, of which all classes have the same."""
    for seed, value in enumerate(balanced):
        also = {}
        if validation:
            held_out = metrics_of([validation[seed]] * 3)
            also = {"split": "test", "validation": held_out}
        name = "_".join(map(str, [power, seed, *flags.values()]))
        write_run(folder / name, [value] * 3, metrics=also, cb_power=power, seed=seed, **flags)


def test_the_best_beyond_the_spread_has_won(tmp_path):
    write(tmp_path, (0.80, 0.82), loss="focal")
    write(tmp_path, (0.70, 0.72), power=0)
    assert told(tmp_path) == (
        "won",
        "test",
        "focal, gamma 1, power 1 won: balanced accuracy on the test set .8100 ± .0141 (2 seeds); "
        "next is softmax, power 0, .7100 ± .0141 (2 seeds).",
    )


def test_what_is_within_the_spread_is_undecided(tmp_path):
    write(tmp_path, (0.80, 0.82))
    write(tmp_path, (0.79, 0.81), power=0)
    write(tmp_path, (0.10, 0.12), power=2)
    assert told(tmp_path) == (
        "undecided",
        "test",
        "Undecided: the highest balanced accuracy on the test set is that of softmax, power 1, "
        ".8100 ± .0141 (2 seeds); not told apart from it: softmax, power 0, .8000 ± .0141 "
        "(2 seeds).",
    )


def test_one_seed_decides_nothing(tmp_path):
    write(tmp_path, (0.80,))
    write(tmp_path, (0.20,), power=0)
    decided, _, sentence = told(tmp_path)
    assert decided == "undecided"
    assert sentence.startswith("Undecided, since the spread between seeds is not known: ")
    assert (
        "is that of softmax, power 1, .8000 (1 seed); next is softmax, power 0, .2000" in sentence
    )


def test_a_single_group_has_nobody_to_win_against(tmp_path):
    write(tmp_path, (0.80, 0.82))
    assert told(tmp_path)[::2] == (
        "alone",
        "Only softmax, power 1 was run: balanced accuracy on the test set .8100 ± .0141 (2 seeds).",
    )


def test_it_is_chosen_on_the_validation_where_there_is_one(tmp_path):
    write(tmp_path, (0.50, 0.52), power=0, validation=(0.90, 0.92))
    write(tmp_path, (0.80, 0.82), power=1, validation=(0.70, 0.72))
    decided, split, sentence = told(tmp_path)
    assert (decided, split) == ("won", "validation")
    assert sentence == (
        "softmax, power 0 won: balanced accuracy on the validation set .9100 ± .0141 (2 seeds); "
        "next is softmax, power 1, .7100 ± .0141 (2 seeds). On the test set it has .5100 ± .0141."
    )
