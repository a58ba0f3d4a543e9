"""The file of decoded images: whole or absent, made once, made again when the files change."""

import os

import numpy as np
import pytest

from experiments import datasets
from experiments.cli import UserError
from experiments.datasets.folder import decode


@pytest.fixture
def root(tmp_path, write):
    """A set of the digits 3 and 7."""
    write(tmp_path / "set" / "three", 3, 5)
    write(tmp_path / "set" / "seven", 7, 5)
    return tmp_path / "set"


def load(root, **choices):
    return datasets.load(f"folder:{root}", root.parent / "cache", choices=choices)


@pytest.fixture
def decodings(monkeypatch):
    """The files that are decoded, a list that grows."""
    found, own = [], decode.decode

    def counted(path, channels):
        found.append(path.name)
        return own(path, channels)

    monkeypatch.setattr(decode, "decode", counted)
    return found


def test_images_are_decoded_once(root, decodings):
    first, again = load(root), load(root, image_size=(8, 8), channels=1)
    assert len(decodings) == 10
    assert first.train.images.digest() == again.train.images.digest()


@pytest.mark.parametrize("change", ["size of a file", "time", "name", "new file"])
def test_changed_files_are_decoded_again_and_the_old_images_go(root, decodings, change, write):
    load(root)
    path = root / "three" / "000.png"
    if change == "size of a file":
        times = path.stat()
        path.write_bytes(path.read_bytes() + b" ")
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "name":
        path.rename(root / "three" / "other.png")
    else:
        write(root / "three" / "more", 3, 1)
    load(root)
    assert len(decodings) == 20 + (change == "new file")
    assert len(list((root.parent / "cache").rglob("images.npy"))) == 1


def test_another_size_is_decoded_next_to_the_first(root, decodings):
    small, large = load(root), load(root, image_size=(16, 16))
    assert len(decodings) == 20
    assert small.train.images.shape[1:] == (8, 8, 1)
    assert large.train.images.shape[1:] == (16, 16, 1)
    load(root)
    assert len(decodings) == 20


def test_a_decoding_that_is_stopped_leaves_nothing_that_looks_whole(root, monkeypatch):
    own = decode.pixels

    def stopped(image, size):
        raise KeyboardInterrupt

    monkeypatch.setattr(decode, "pixels", stopped)
    with pytest.raises(KeyboardInterrupt):
        load(root)
    assert not list((root.parent / "cache").rglob("images.npy"))
    monkeypatch.setattr(decode, "pixels", own)
    assert len(load(root).train.images) == 8


def test_images_stay_in_the_file_until_they_are_asked_for(root):
    images = load(root).train.images
    assert isinstance(images.take([0])._array, np.memmap)
    assert images[2:4].shape == (2, 8, 8, 1)
    np.testing.assert_array_equal(images[[5, 1]], np.stack([images[5], images[1]]))
    np.testing.assert_array_equal(images.take([5, 1])[:], images[[5, 1]])


def test_a_digest_is_that_of_the_images_in_their_order(root):
    images = load(root).train.images
    assert images.digest() == images.take(np.arange(8)).digest()
    assert images.digest() != images.take(np.arange(8)[::-1]).digest()


def test_too_little_space_is_told_before_anything_is_decoded(root, monkeypatch):
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 100))
    message = r"need 0\.0 MB in .*, where 0\.0 MB are free: .* --data_dir"
    with pytest.raises(UserError, match=message):
        load(root)


def test_a_cache_that_can_not_be_written_is_named_with_the_flag(root):
    (root.parent / "cache").write_text("a file")
    with pytest.raises(UserError, match=r"can't be kept in .*--data_dir"):
        load(root)
