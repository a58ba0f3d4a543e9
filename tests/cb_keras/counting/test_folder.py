"""`class_counts` of folders of class folders, of scikit-learn's digits written as images."""

import numpy as np
import pytest
import sklearn.datasets

import cb_keras

NAMES = ["cat", "dog", "eel"]


@pytest.fixture
def folder(tmp_path):
    """Three class folders with 5, 3 and 1 images; PGM's bytes under the suffixes of images."""
    images = sklearn.datasets.load_digits().images.astype("uint8") * 15
    suffixes = [".png", ".JPG", ".jpeg", ".bmp", ".WebP"]
    for name, count in zip(NAMES, (5, 3, 1), strict=True):
        for i in range(count):
            path = tmp_path / name / ("deep/er" if i == 2 else "") / f"{i}{suffixes[i]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"P5 8 8 255\n" + images[i].tobytes())
    return tmp_path


def test_images_at_any_depth_count_for_their_class_folder(folder):
    counts = cb_keras.class_counts(folder)
    assert counts.dtype == np.int64
    assert counts.tolist() == [5, 3, 1]
    assert cb_keras.class_counts(str(folder), classes=["eel", "cat", "dog"]).tolist() == [1, 5, 3]


def test_hidden_and_other_files_are_not_counted(folder):
    for name in (".hidden.png", "notes.txt", ".thumbs/1.png"):
        path = folder / "cat" / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (folder / ".git").mkdir()
    (folder / "__MACOSX").mkdir()
    (folder / "README.md").touch()
    assert cb_keras.class_counts(folder).tolist() == [5, 3, 1]


def test_links_are_followed_once_and_a_link_to_nothing_or_itself_is_not_counted(folder, tmp_path):
    outside = tmp_path.with_name(tmp_path.name + "-outside")
    outside.mkdir()
    (outside / "6.png").touch()
    (folder / "eel" / "more").symlink_to(outside)
    (folder / "eel" / "again").symlink_to(outside)
    (folder / "eel" / "up").symlink_to(folder)
    (folder / "eel" / "gone.png").symlink_to(folder / "nothing.png")
    (folder / "eel" / "circle.png").symlink_to("circle.png")
    assert cb_keras.class_counts(folder).tolist() == [5, 3, 2]


def test_a_folder_that_is_not_a_class_can_be_ignored(folder):
    assert cb_keras.class_counts(folder, ignore_class="dog").tolist() == [5, 1]


def test_an_empty_class_folder_is_refused_by_name(folder):
    (folder / "dodo" / "below").mkdir(parents=True)
    (folder / "dodo" / "notes.txt").touch()
    with pytest.raises(
        ValueError, match=r"class folder '.*dodo' holds no images \(\.bmp, .*put som"
    ):
        cb_keras.class_counts(folder)


def test_a_folder_of_splits_is_refused_with_the_one_to_count(folder, tmp_path):
    top = tmp_path.with_name(tmp_path.name + "-split")
    top.mkdir()
    folder.rename(top / "train")
    (top / "test").mkdir()
    with pytest.raises(ValueError, match=r"holds test, train: .*class_counts\('.*train'\)"):
        cb_keras.class_counts(top)
    assert cb_keras.class_counts(top / "train").tolist() == [5, 3, 1]


def test_other_classes_than_the_folders_are_refused_by_name(folder):
    with pytest.raises(ValueError, match=r"`classes` must be the class folders of .*'fox' is only"):
        cb_keras.class_counts(folder, classes=[*NAMES, "fox"])
    with pytest.raises(ValueError, match="`num_classes` is 4, but the folder has 3 classes"):
        cb_keras.class_counts(folder, num_classes=4)


def test_a_path_that_is_no_folder_of_class_folders_is_refused(folder):
    with pytest.raises(
        ValueError, match="is not a folder of class folders; for labels that are te"
    ):
        cb_keras.class_counts("cat")
    with pytest.raises(ValueError, match="holds no class folders"):
        cb_keras.class_counts(folder / "dog" / "deep" / "er")
