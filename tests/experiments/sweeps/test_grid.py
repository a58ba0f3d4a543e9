"""`--grid`: what it reads, and what it refuses, by name and before any work."""

import pytest
from absl import flags
from absl.testing import flagsaver

from experiments.cli import UserError
from experiments.sweeps import grid


@pytest.fixture(autouse=True)
def parsed():
    """The flags as an empty command line leaves them."""
    with flagsaver.flagsaver():
        flags.FLAGS(["sweep"])
        yield


def test_flags_and_values_are_read_in_their_order_with_the_types_of_the_trainer():
    text = "cb_power=0, 0.5,1; loss=focal ;depth=8,14;deterministic=true,false"
    assert list(grid.axes(text).items()) == [
        ("cb_power", (0.0, 0.5, 1.0)),
        ("loss", ("focal",)),
        ("depth", (8, 14)),
        ("deterministic", (True, False)),
    ]


def test_the_values_of_a_list_are_separated_by_bars():
    assert grid.axes("lr_boundaries=0.8,0.9|0.5") == {"lr_boundaries": (["0.8", "0.9"], ["0.5"])}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a flag with its values; write --grid=\"NAME=VALUE,VALUE"),
        ("gamma", "'gamma' is not a flag with its values"),
        ("gamma=", "'gamma=' is not a flag with its values"),
        ("gamma=1;", "'' is not a flag with its values"),
        ("=1", "'=1' is not a flag with its values"),
        ("gama=1", "gama is not a flag of experiments.train; did you mean gamma?"),
        ("zzz=1", "zzz is not a flag of experiments.train; python -m experiments.train --help"),
        ("jobs=1,2", "jobs is not a flag of experiments.train"),
        ("gamma=1;gamma=2", "--grid names gamma twice; give all its values at once"),
        ("gamma=1,1.0", "--grid has gamma=1.0 twice"),
        ("gamma=a", "gamma=a: could not convert string to float: 'a'; give values of --gamma"),
        ("gamma=1,,2", "gamma=: could not convert string to float"),
        ("depth=8.5", "depth=8.5: invalid literal for int()"),
        ("loss=focal,hinge", "loss=hinge: value should be one of <softmax|sigmoid|focal>"),
        ("seed=0,1", "seed can't be varied: use --seeds"),
        ("dataset=digits", "dataset can't be varied: no table mixes runs on different data"),
        ("output_dir=a", "output_dir can't be varied: it does not change what is trained"),
        ("plots=true", "plots can't be varied: it does not change what is trained"),
    ],
)
def test_what_is_wrong_is_named_with_a_fix(text, message):
    with pytest.raises(UserError) as caught:
        grid.axes(text)
    assert message in str(caught.value)
    assert "--grid" in str(caught.value)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(UserError) as caught:
        grid.axes("gama=1;seed=0;depth=a,b")
    assert len(str(caught.value).splitlines()) == 4


def test_an_imbalance_factor_in_the_grid_asks_for_a_tail_that_is_cut_to_it():
    natural = {"long_tail": "natural"}
    assert grid.shared_settings(natural, ["imbalance_factor"]) == {"long_tail": "exponential"}
    assert grid.shared_settings(natural, ["gamma"]) == natural
    flags.FLAGS(["sweep", "--long_tail=natural"])
    assert grid.shared_settings(natural, ["imbalance_factor"]) == natural


def test_a_grid_that_is_too_large_is_refused_with_its_size():
    grid.check_size([None] * 1000)
    with pytest.raises(UserError, match=r"--grid has 1001 cells, the seeds counted, and 1000 is"):
        grid.check_size([None] * 1001)
