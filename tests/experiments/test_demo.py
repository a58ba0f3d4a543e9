"""What the demo says at its end."""

from experiments import demo


def test_the_last_line_says_what_the_term_changed():
    balanced = {"few_accuracy": 0.5, "balanced_accuracy": 0.75}
    plain = {"few_accuracy": 0.25, "balanced_accuracy": 0.8}
    assert demo.comparison(balanced, plain) == (
        "what the class-balanced term changed: few-shot accuracy 0.250 -> 0.500 (+0.250), "
        "balanced accuracy 0.800 -> 0.750 (-0.050)"
    )


def test_the_preset_of_the_demo_is_there():
    assert demo.PRESET.is_file()
