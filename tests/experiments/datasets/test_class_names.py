"""Classes of a data set, found by the names that a model has for them."""

import numpy as np
import pytest

from experiments import datasets
from experiments.cli import UserError
from experiments.datasets import Data, Split


def named(class_names, labels):
    split = Split(np.zeros((len(labels), 1, 1, 1), "uint8"), np.array(labels, "int32"))
    return Data("tfds:tiny:1.0.0", split, split, class_names, "crop")


def test_test_images_get_the_class_ids_of_the_model_by_name():
    def labels(class_names, labels, model):
        return datasets.test_split_for(named(class_names, labels), model).labels.tolist()

    assert labels(["b", "c", "a"], [0, 1, 2, 2], ["a", "b", "c"]) == [1, 2, 0, 0]
    assert labels(["c", "a"], [0, 1], ["a", "b", "c"]) == [2, 0]
    assert labels(["c", "new", "a"], [0, 2], ["a", "b", "c"]) == [2, 0]  # none of `new` to judge
    assert labels(["a", "a"], [0, 1], ["a", "a"]) == [0, 1]  # the same list needs no names


@pytest.mark.parametrize(
    ("class_names", "model", "message"),
    [
        (["a", "x"], ["a", "b"], "images of classes that the model does not have: 'x'"),
        (["0", "1"], ["cat", "dog"], "does not have: '0', '1'; the model's are 'cat', 'dog'"),
        (["a", "a"], ["a", "b"], "tfds:tiny:1.0.0 has two classes of one name"),
        (["a", "b"], ["b", "b", "a"], "the model has two classes of one name"),
    ],
)
def test_classes_that_can_not_be_found_by_name_are_refused(class_names, model, message):
    with pytest.raises(UserError, match=message):
        datasets.test_split_for(named(class_names, [0, 1]), model)
