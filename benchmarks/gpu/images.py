"""The images that travel: CIFAR-10's long tail, its test set and the rest, losslessly compressed.

python -m benchmarks.gpu.images FOLDER FILE.npz [--rest=FOLDER]

writes the archive that experiments.train reads: of the tail, or with the rest of all images.
"""

import argparse
import io
import json
import pathlib

import numpy as np

_PARTS = ("train", "test")
_ROWS = 500  # images in a strip, which is as high as WebP allows


def pack(arrays, folder):
    """Writes the images as strips of lossless WebP, and the labels.

    Args:
        arrays: Dict of `x_train`, `x_test` (uint8 `[N, H, W, 3]`), `y_train`, `y_test` and
            `class_names`; one without test images may have `positions` of the others.
        folder: Where to.
    """
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    parts = [part for part in _PARTS if f"x_{part}" in arrays]
    for part in parts:
        images = arrays[f"x_{part}"]
        for i, start in enumerate(range(0, len(images), _ROWS)):
            strip = images[start : start + _ROWS]
            strip = strip.reshape(-1, *strip.shape[2:])
            file = folder / f"{part}_{i:03}.webp"
            Image.fromarray(strip).save(file, "webp", lossless=True, quality=50, method=4)
    about = {
        "height": int(arrays["x_train"].shape[1]),
        "class_names": list(arrays["class_names"]),
        **{f"y_{part}": arrays[f"y_{part}"].tolist() for part in parts},
        **({"positions": arrays["positions"].tolist()} if "positions" in arrays else {}),
    }
    (folder / "labels.json").write_text(json.dumps(about))


def unpack(folder, most=None):
    """The arrays that `pack` was given; the first `most` images of each part, or all."""
    from PIL import Image

    about = json.loads((folder / "labels.json").read_text())
    arrays = {"class_names": np.array(about["class_names"])}
    if "positions" in about:
        arrays["positions"] = np.array(about["positions"], "int64")
    for part in (part for part in _PARTS if f"y_{part}" in about):
        labels = np.array(about[f"y_{part}"], "int32")[:most]
        strips, found = [], 0
        for file in sorted(folder.glob(f"{part}_*.webp")):
            if found >= len(labels):
                break
            pixels = np.asarray(Image.open(io.BytesIO(file.read_bytes())).convert("RGB"))
            strips.append(pixels.reshape(-1, about["height"], *pixels.shape[1:]))
            found += len(strips[-1])
        arrays |= {f"x_{part}": np.concatenate(strips)[: len(labels)], f"y_{part}": labels}
    return arrays


def whole(tail, rest):
    """The arrays of all images in their own order, of the tail's and the rest's.

    Args:
        tail: Dict of arrays, its training images in the order of the whole.
        rest: Dict of `x_train`, `y_train` and their `positions` in the whole.
    """
    number = len(tail["y_train"]) + len(rest["y_train"])
    of_tail = np.setdiff1d(np.arange(number), rest["positions"])
    arrays = dict(tail)
    for name in ("x_train", "y_train"):
        array = np.empty((number, *tail[name].shape[1:]), tail[name].dtype)
        array[of_tail], array[rest["positions"]] = tail[name], rest[name]
        arrays[name] = array
    return arrays


def count(file):
    """Number of training images of an archive."""
    with np.load(file) as arrays:
        return len(arrays["y_train"])


def of_cifar10(data_dir, factor=0.02, seed=0):
    """The arrays of CIFAR-10's long tail, by tensorflow-datasets' copy in `data_dir`."""
    from experiments import datasets

    data = datasets.load("cifar10", data_dir)
    train, _ = datasets.cut_long_tail(
        data.train, len(data.class_names), "exponential", factor, seed=seed
    )
    return {
        "x_train": train.images,
        "y_train": train.labels,
        "x_test": data.test.images,
        "y_test": data.test.labels,
        "class_names": data.class_names,
    }


def rest_of_cifar10(data_dir, factor=0.02, seed=0):
    """The arrays of the images that the tail leaves out, with their `positions` in all."""
    from cb_keras import choose_long_tail, long_tailed_counts
    from experiments import datasets

    data = datasets.load("cifar10", data_dir)
    labels = data.train.labels
    counts = long_tailed_counts(len(data.class_names), int(np.bincount(labels).min()), factor)
    kept = choose_long_tail(labels, counts, seed)
    positions = np.setdiff1d(np.arange(len(labels)), kept)
    return {
        "x_train": data.train.images[positions],
        "y_train": labels[positions],
        "positions": positions,
        "class_names": data.class_names,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("file", type=pathlib.Path)
    parser.add_argument("--rest", type=pathlib.Path, help="Folder of the images that FOLDER lacks.")
    parser.add_argument("--most", type=int, help="Images of each part, the first ones.")
    arguments = parser.parse_args()
    part = arguments.file.with_suffix(".part.npz")
    arrays = unpack(arguments.folder, arguments.most)
    if arguments.rest:
        arrays = whole(arrays, unpack(arguments.rest))
    np.savez(part, **arrays)
    part.replace(arguments.file)


if __name__ == "__main__":
    main()
