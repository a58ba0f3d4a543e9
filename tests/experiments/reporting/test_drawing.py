"""Text that fits on an axis."""

import pytest

from experiments.reporting import drawing


def test_shortened_names_can_be_told_apart():
    names = ["x" * 30 + "a", "x" * 30 + "b", "y"]
    assert drawing.class_labels(names, 9) == ["0: xxxxx…", "1: xxxxx…", "y"]


@pytest.mark.parametrize(
    ("text", "drawn"),
    [("abcd", "abcd"), ("abcde", "abc…"), ("a\nb\x1b", "a?b?"), ("$1", r"\$1"), ("\u202ea", "?a")],
)
def test_a_label_is_one_line_of_plain_text_of_this_length(text, drawn):
    assert drawing.label(text, 4) == drawn


def test_a_name_is_lacking_where_the_font_lacks_one_of_its_letters():
    assert drawing.lacking(["cat", "Ünïcode", "a 猫", "\x00"]) == ["a 猫"]


@pytest.mark.parametrize(("medium", "most"), [(drawing.PNG, 20), (drawing.SVG, 12)])
def test_more_classes_than_fit_on_an_axis_have_no_names(medium, most):
    assert medium.has_names({"class_names": list("a" * most)})
    assert not medium.has_names({"class_names": list("a" * (most + 1))})


def test_letters_that_the_readers_font_draws_stay():
    assert drawing.SVG.class_names({"class_names": ["猫"]}) == ["猫"]
    assert drawing.PNG.class_names({"class_names": ["猫"]}) == ["class 0"]
