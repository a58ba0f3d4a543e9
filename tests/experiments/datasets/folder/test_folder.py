"""Which files of a folder are which images, and what is refused in words."""

import os

import numpy as np
import pytest
from PIL import Image

from experiments import datasets
from experiments.cli import UserError


@pytest.fixture
def load(tmp_path):
    """Function of choices that loads `tmp_path/set`, the decoded images next to it."""

    def load_it(**choices):
        name = f"folder:{tmp_path / 'set'}"
        return datasets.load(name, tmp_path / "cache", choices=choices)

    return load_it


@pytest.fixture
def parted(tmp_path, write):
    """A set with train/ and test/, of the digits 3 and 7."""
    root = tmp_path / "set"
    return root, {
        (part, digit): write(root / part / name, digit, number)
        for part, name, digit, number in (
            ("train", "seven", 7, 9),
            ("train", "three", 3, 5),
            ("test", "three", 3, 4),
            ("test", "seven", 7, 2),
        )
    }


def test_train_and_test_are_the_splits_and_sorted_names_the_class_ids(load, parted):
    _, written = parted
    data = load()
    assert data.class_names == ["seven", "three"]
    assert data.train.labels.tolist() == [0] * 9 + [1] * 5
    assert data.test.labels.tolist() == [0] * 2 + [1] * 4
    expected = np.concatenate([written["train", 7], written["train", 3]])
    np.testing.assert_array_equal(data.train.images[:][..., 0], expected)
    expected = np.concatenate([written["test", 7], written["test", 3]])
    np.testing.assert_array_equal(data.test.images[:][..., 0], expected)
    assert data.train.images.shape == (14, 8, 8, 1)


def test_ids_come_from_the_training_folders_where_the_test_lacks_some(load, parted, write, capsys):
    root, _ = parted
    write(root / "train" / "four", 4, 3)
    data = load()
    assert data.class_names == ["four", "seven", "three"]
    assert sorted(set(data.test.labels.tolist())) == [1, 2]
    assert "no test images of 1 of its 3 classes, which count in no mean, but in macro F1, as" in (
        capsys.readouterr().out
    )


def test_a_plain_folder_is_split_by_class_and_seed(tmp_path, load, write):
    for name, digit, number in (("a", 1, 40), ("b", 2, 11), ("c", 3, 2), ("d", 4, 1)):
        write(tmp_path / "set" / name, digit, number)
    data = load(test_fraction=0.25)
    assert np.bincount(data.test.labels, minlength=4).tolist() == [10, 3, 1, 0]
    assert np.bincount(data.train.labels).tolist() == [30, 8, 1, 1]
    both = np.concatenate([data.train.images[:], data.test.images[:]]).reshape(54, -1)
    assert len(np.unique(both, axis=0)) == 54  # none is in both
    again, other = load(test_fraction=0.25), load(test_fraction=0.25, split_seed=1)
    np.testing.assert_array_equal(again.test.images[:], data.test.images[:])
    assert not np.array_equal(other.test.images[:], data.test.images[:])
    assert data.choices == {
        **{"image_size": [8, 8], "channels": 1, "test_fraction": 0.25, "split_seed": 0}
    }
    assert len(load(test_fraction=1.0).test.labels) == 54


def test_images_are_found_at_any_depth_and_hidden_files_are_not(load, parted, write):
    root, _ = parted
    write(root / "train" / "three" / "more" / "deep", 3, 2)
    write(root / "train" / "three" / ".hidden", 3, 2)
    write(root / "train" / ".thumbs", 3, 2)
    (root / "train" / "three" / "._000.png").write_bytes(b"resource fork")
    assert np.bincount(load().train.labels).tolist() == [9, 7]


def test_links_are_followed_once(load, parted, write, tmp_path, capsys):
    root, _ = parted
    elsewhere = tmp_path / "elsewhere"
    write(elsewhere, 3, 2)
    three = root / "train" / "three"
    os.symlink(elsewhere, three / "linked")
    os.symlink(elsewhere, three / "linked again")
    os.symlink(root, three / "loop")
    os.symlink(elsewhere / "000.png", three / "one file.png")
    assert np.bincount(load().train.labels).tolist() == [9, 7]
    assert "1 link to images that are there already left out" in capsys.readouterr().out
    os.symlink(three / "000.png", root / "train" / "seven" / "again.png")
    os.symlink(three / "001.png", three / "again.png")
    assert np.bincount(load().train.labels).tolist() == [9, 7]
    assert "3 links to images" in capsys.readouterr().out
    write(tmp_path / "store", 3, 1)  # images that are links alone are images
    os.symlink(tmp_path / "store" / "000.png", three / "stored.png")
    assert np.bincount(load().train.labels).tolist() == [9, 8]


def test_a_class_of_links_to_images_of_other_classes_is_refused(load, write, tmp_path):
    for name, digit in (("a", 1), ("b", 2)):
        write(tmp_path / "set" / name, digit, 4)
    (tmp_path / "set" / "c").mkdir()
    os.symlink(tmp_path / "set" / "a" / "000.png", tmp_path / "set" / "c" / "000.png")
    with pytest.raises(UserError, match="all images of 'c' there, such as 'c/000"):
        load()


def test_test_images_that_are_links_to_training_images_are_refused(load, write, tmp_path):
    for name, digit in (("a", 1), ("b", 2)):
        write(tmp_path / "set" / "train" / name, digit, 4)
        (tmp_path / "set" / "test" / name).mkdir(parents=True)
        linked = tmp_path / "set" / "train" / name / "000.png"
        os.symlink(linked, tmp_path / "set" / "test" / name / "000.png")
    with pytest.raises(UserError, match="all images of 'a', 'b' there, such as 'test/a/000"):
        load()


@pytest.mark.parametrize("names", [("Train", "Test"), ("training", "testing"), ("TRAIN", "Val")])
def test_train_and_test_by_other_names_are_not_taken_for_classes(load, write, tmp_path, names):
    for part in names:
        for name, digit in (("a", 1), ("b", 2)):
            write(tmp_path / "set" / part / name, digit, 4)
    with pytest.raises(UserError, match=f"has {names[0]}/ and {names[1]}/, which would be taken"):
        load()


def test_images_beside_the_class_folders_are_told(load, write, tmp_path, capsys):
    for name, digit in (("train", 1), ("bus", 2), (".", 3)):  # a class may be called "train"
        write(tmp_path / "set" / "train" / name, digit, 4)
        write(tmp_path / "set" / "test" / name, digit, 4)
    assert np.bincount(load().train.labels).tolist() == [4, 4]
    assert "8 images beside the class folders left out" in capsys.readouterr().out


def test_files_of_other_types_are_left_out_and_told(load, parted, capsys):
    root, _ = parted
    (root / "train" / "three" / "notes.txt").write_text("about")
    assert len(load().train.labels) == 14
    assert "1 file of other types left out: '.txt'" in capsys.readouterr().out


def test_a_file_that_can_not_be_read_is_named_and_left_out(load, parted, capsys):
    root, _ = parted
    path = root / "train" / "three" / "002.png"
    path.write_bytes(path.read_bytes()[:60])
    data = load()
    assert np.bincount(data.train.labels).tolist() == [9, 4]
    assert "1 file that can't be read left out: 'train/three/002.png': " in capsys.readouterr().out


def test_an_image_of_another_type_than_its_name_says_is_told_the_types(load, parted, capsys):
    root, _ = parted
    path = root / "train" / "three" / "002.png"
    with Image.open(path) as image:
        image.save(path, format="TIFF")
    assert np.bincount(load().train.labels).tolist() == [9, 4]
    told = "'train/three/002.png': a TIFF image (accepted: BMP, JPEG, PNG, WebP)"
    assert f"1 file that can't be read left out: {told}" in capsys.readouterr().out


def test_many_files_that_can_not_be_read_are_refused(load, parted):
    root, _ = parted
    for name in ("000", "001"):
        (root / "train" / "three" / f"{name}.png").write_bytes(b"no image")
    message = (
        r"2 of 20 files can't be read, more than 5%: 'train/three/000.png': "
        r"not an image \(accepted: BMP, JPEG, PNG, WebP\); "
    )
    with pytest.raises(UserError, match=message):
        load()


def test_a_class_of_which_nothing_can_be_read_is_refused(load, parted, write):
    root, _ = parted
    write(root / "train" / "one", 1, 1)
    (root / "train" / "one" / "000.png").write_bytes(b"no image")
    with pytest.raises(UserError, match="no training image of the class 'one' can be read"):
        load()


@pytest.mark.parametrize("part", ["train", "test"])
def test_an_empty_class_folder_is_refused(load, parted, part):
    root, _ = parted
    (root / "train" / "one").mkdir()
    (root / part / "one").mkdir(exist_ok=True)
    with pytest.raises(UserError, match=r"the class folder .*/one holds no images \(\.bmp, "):
        load()


def test_test_classes_that_training_lacks_are_refused(load, parted, write):
    root, _ = parted
    write(root / "test" / "one", 1, 2)
    with pytest.raises(UserError, match=r"has classes that train/ lacks: 'one'; its are 'seven', "):
        load()


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ((), "holds no class folders; put the images of each class into a folder of its own"),
        (("one",), "has one class folder, 'one'; a classifier needs two"),
        (("test/one", "test/two"), "has test/ but no train/"),
        (("train/one", "train/two"), r"has train/ but no test/; .* --dataset=folder:.*/train$"),
        (("train/one", "train/two", "test"), "test holds no class folders"),
        (("one\n", "two"), r"names hold what can't be printed: 'one\\n'"),
    ],
)
def test_another_layout_is_refused(load, tmp_path, write, folders, message):
    (tmp_path / "set").mkdir()
    for folder in folders:
        if folder != "test":
            write(tmp_path / "set" / folder, 1, 2)
        else:
            (tmp_path / "set" / folder).mkdir()
    with pytest.raises(UserError, match=message):
        load()


def test_images_of_several_sizes_need_the_flag(load, parted, write):
    root, _ = parted
    write(root / "train" / "three" / "large", 3, 2, scale=3)
    message = "sizes from 8x8 to 24x24 .* such as --image_size=8"
    with pytest.raises(UserError, match=message):
        load()
    assert load(image_size=(8, 12)).train.images.shape == (16, 8, 12, 1)


def test_gray_images_in_files_of_colour_have_one_channel(load, parted):
    from PIL import Image

    root, written = parted
    for i, mode in enumerate(("RGB", "RGBA", "P")):
        path = root / "train" / "seven" / f"{i:03d}.png"
        Image.open(path).convert(mode).save(path)
    images = load().train.images
    assert images.shape == (14, 8, 8, 1)
    np.testing.assert_array_equal(images[:9][..., 0], written["train", 7])


def test_digits_of_mixed_sizes_and_modes_are_the_images_of_digits(load, tmp_path):
    from PIL import Image

    digits = datasets.load("digits")
    modes = ("L", "RGB", "RGBA", "P", "LA", "I;16")
    for part, split in (("train", digits.train.take(range(150))), ("test", digits.test)):
        for i, (pixels, label) in enumerate(zip(split.images[..., 0], split.labels, strict=True)):
            folder = tmp_path / "set" / part / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            large = pixels.repeat(1 + i % 4, axis=0).repeat(1 + i % 3, axis=1)
            mode = modes[i % len(modes)]
            deep = Image.fromarray(large.astype("uint16") * 257)
            image = deep if mode == "I;16" else Image.fromarray(large).convert(mode)
            image.save(folder / f"{i:03d}.png")
    data = load(image_size=(8, 8))
    for found, split in ((data.train, digits.train.take(range(150))), (data.test, digits.test)):
        order = np.argsort(split.labels, kind="stable")
        np.testing.assert_array_equal(found.images[:], split.images[order])
        np.testing.assert_array_equal(found.labels, split.labels[order])


def test_one_image_in_colour_makes_the_set_rgb(load, parted, photographs):
    from PIL import Image

    root, written = parted
    Image.fromarray(photographs[0]).resize((8, 8)).save(root / "test" / "three" / "colour.webp")
    images = load().train.images
    assert images.shape == (14, 8, 8, 3)
    np.testing.assert_array_equal(images[0], written["train", 7][0][..., None].repeat(3, axis=2))
