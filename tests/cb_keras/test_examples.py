"""The examples in the library's docstrings are run as they stand."""

import doctest
import importlib
import pkgutil

import keras
import pytest

import cb_keras
from cb_keras import losses


def modules():
    found = pkgutil.walk_packages(cb_keras.__path__, "cb_keras.")
    # The op's sources are not part of the package in a clone, and a __main__ runs when imported.
    names = [m.name for m in found if "_ops" not in m.name and not m.name.endswith("__main__")]
    # A door is for its own framework: two of them in one process may not get along.
    of = keras.backend.backend()
    names = [n for n in names if ".doors." not in n or n.rpartition(".")[2].startswith(of)]
    return [importlib.import_module(name) for name in ["cb_keras", *names]]


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = [test for module in modules() for test in finder.find(module)]
    return {test.name: test for test in tests if test.examples}


def test_every_loss_has_an_example():
    classes = [getattr(losses, name) for name in losses.__all__]
    assert len(classes) >= 3
    assert {f"{cls.__module__}.{cls.__name__}" for cls in classes} <= set(examples())


@pytest.mark.parametrize("name", sorted(examples()))
def test_an_example_gives_what_it_says(name):
    runner = doctest.DocTestRunner(optionflags=doctest.REPORT_NDIFF)
    said = []
    assert runner.run(examples()[name], out=said.append).failed == 0, "".join(said)
