"""Classes of a data set and of a model, found by their names."""

import numpy as np

from experiments.cli import UserError
from experiments.datasets.data import Split


def test_split_for(data, class_names):
    """The test split with the class ids of a model, whose classes are found by name.

    Args:
        data: `Data`; it may lack classes of the model, and have them in another order.
        class_names: Names of the model's classes, by class id.

    Returns:
        `Split`.

    Raises:
        UserError: There are test images of a class that the model does not have.
    """
    if data.class_names == class_names:
        return data.test
    for whose, names in ((data.name, data.class_names), ("the model", class_names)):
        if len(set(names)) < len(names):
            raise UserError(
                f"{whose} has two classes of one name ({some(names)}), so that they can't be "
                "found by name; use the data set that the model was trained on."
            )
    ids = {name: c for c, name in enumerate(class_names)}
    present = np.unique(data.test.labels)
    unknown = [data.class_names[c] for c in present if data.class_names[c] not in ids]
    if unknown:
        raise UserError(
            f"{data.name} has test images of classes that the model does not have: "
            f"{some(unknown)}; the model's are {some(class_names)}. Classes are found by name: use "
            "a data set whose names are the model's, such as the one it was trained on."
        )
    print(f"{data.name}: other classes, or in another order, than the model's: found by name")
    new_ids = np.array([ids.get(name, -1) for name in data.class_names], "int32")
    return Split(data.test.images, new_ids[data.test.labels])


def tell_untested(data):
    """Says which classes of a data set have no test images."""
    tested = np.unique(data.test.labels)
    untested = [n for c, n in enumerate(data.class_names) if c not in tested]
    if untested:
        print(
            f"{data.name} has no test images of {len(untested)} of its {len(data.class_names)} "
            "classes, which count in no mean, but in macro F1, as 0, where a model predicts them: "
            f"{some(untested)}"
        )


def some(names):
    """The first few of many names, as text."""
    rest = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + rest
