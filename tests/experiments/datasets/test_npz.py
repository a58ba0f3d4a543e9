"""Arrays in an .npz file: real digits, as Keras and MedMNIST name them, and mistakes."""

import numpy as np
import pytest

from experiments import datasets
from experiments.cli import UserError


@pytest.fixture
def arrays(real_digits):
    """The first 40 digits for training, the next 30 for the test, under Keras' names."""
    images, labels = real_digits
    images = images[..., 0]
    return {
        **{"x_train": images[:40], "y_train": labels[:40]},
        **{"x_test": images[40:70], "y_test": labels[40:70]},
    }


@pytest.fixture
def load(tmp_path):
    """Function of arrays by name that saves them and loads the file."""

    def save_and_load(choices=None, **arrays):
        np.savez(tmp_path / "set.npz", **arrays)
        return datasets.load(f"npz:{tmp_path / 'set.npz'}", choices=choices)

    return save_and_load


@pytest.mark.parametrize("names", ["keras", "medmnist"])
def test_the_arrays_are_the_splits(load, arrays, names):
    expected = arrays
    if names == "medmnist":
        other = {"x": "images", "y": "labels"}
        arrays = {f"{k[2:]}_{other[k[0]]}": v for k, v in arrays.items()}
        arrays = {k: v[:, None] if "labels" in k else v for k, v in arrays.items()}
        arrays["val_images"] = arrays["test_images"]  # which are not needed
    data = load(**arrays)
    np.testing.assert_array_equal(data.train.images[..., 0], expected["x_train"])
    np.testing.assert_array_equal(data.test.images[..., 0], expected["x_test"])
    assert data.train.labels.tolist() == expected["y_train"].tolist()
    assert data.test.labels.tolist() == expected["y_test"].tolist()
    assert data.class_names == [str(c) for c in range(10)]
    assert (data.train.images.dtype, data.train.labels.dtype) == ("uint8", "int32")


def test_class_names_are_taken_from_the_file(load, arrays):
    names = [f"digit {c}" for c in range(10)]
    assert load(**arrays, class_names=names).class_names == names


def test_labels_may_be_names(load, arrays):
    for key in ("y_train", "y_test"):
        arrays[key] = np.array([f"d{9 - y}" for y in arrays[key]])
    data = load(**arrays)
    assert data.class_names == [f"d{c}" for c in range(10)]
    assert data.train.labels[:10].tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_without_test_images_a_part_of_every_class_is_split_off(load, real_digits):
    images, labels = real_digits
    data = load({"test_fraction": 0.1, "split_seed": 1}, x=images, y=labels)
    counts = np.bincount(labels)
    assert np.bincount(data.test.labels).tolist() == np.rint(counts * 0.1).astype(int).tolist()
    assert len(data.train.labels) + len(data.test.labels) == len(labels)
    assert data.choices == {"test_fraction": 0.1, "split_seed": 1}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"x_train": None}, "has no x_train, which belongs to x_train and y_train"),
        ({"x_test": None, "y_test": None}, "but no test images: add x_test and y_test"),
        ({"x_train": lambda x: x / 255}, "float64; uint8 .* needed: multiply by 255 and round"),
        ({"x_train": lambda x: x.astype("int32")}, "x_train has dtype int32; uint8 from 0 to 255"),
        ({"x_train": lambda x: x.reshape(40, 64)}, r"x_train has the shape \(40, 64\); images"),
        (
            {"x_train": lambda x: np.stack([x] * 3, axis=1)},
            r"\(40, 3, 8, 8\), which looks like \[N, channels, H, W\]; .* transpose\(0, 2, 3, 1\)",
        ),
        ({"x_test": lambda x: x[:, :7]}, r"are \(8, 8, 1\), the test images \(7, 8, 1\)"),
        ({"y_train": lambda y: y[:-1]}, r"shape \(39,\); 40 class ids or names, one an image"),
        ({"y_train": lambda y: np.eye(10)[y]}, r"y_train has the shape \(40, 10\); .* argmax"),
        ({"y_train": lambda y: y + 0.5}, "y_train has dtype float64"),
        ({"y_train": lambda y: y - 1}, "has labels from -1 to 9; class ids from 0"),
        ({"y_train": lambda y: y + 1, "y_test": lambda y: y + 1}, "1 to 10; .*do they start at 1"),
        ({"y_train": lambda y: y * 0, "y_test": lambda y: y * 0}, "has one class"),
        ({"y_train": lambda y: y.astype(str)}, "labels that are numbers and labels that are names"),
        ({"class_names": lambda _: ["a", "b"]}, "labels from 0 to 9; class ids from 0 to 1 are"),
        ({"x_train": lambda x: x.astype(object)}, "can't be read .* holds Python objects"),
    ],
)
def test_what_is_not_images_with_class_ids_is_refused_in_words(load, arrays, changes, words):
    for key, change in changes.items():
        if change is None:
            del arrays[key]
        else:
            arrays[key] = change(arrays.get(key))
    with pytest.raises(UserError, match=words):
        load(**arrays)


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04 damaged"])
def test_a_file_that_is_not_an_npz_is_refused(tmp_path, content):
    path = tmp_path / "set.npz"
    path.write_bytes(content)
    with pytest.raises(UserError, match="can't be read"):
        datasets.load(f"npz:{path}")


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "set.npy", np.zeros(3))
    with pytest.raises(UserError, match=r"it is not an \.npz file"):
        datasets.load(f"npz:{tmp_path / 'set.npy'}")


def test_a_file_of_other_arrays_is_refused_with_what_it_holds(load):
    with pytest.raises(UserError, match="holds 'counts'; x_train, y_train, x_test and y_test are"):
        load(counts=[1, 2])


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"/no/file\.npz does not exist; name an \.npz file"):
        datasets.check_name("npz:/no/file.npz")
