"""Weights of a trunk from a file: nothing is ever fetched."""

import functools
import hashlib
import os
import pathlib

import numpy as np

from experiments.cli import UserError, in_a_line, local_path

_ENDS = (".weights.h5", ".h5", ".keras")
# What EfficientNetB0 to B7 of ImageNet have in their layer of normalisation.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def problems(settings):
    """What is wrong with `--backbone_weights` and `--freeze_epochs`, a line each."""
    frozen, epochs = settings["freeze_epochs"], settings["train_epochs"]
    if epochs > 0 and not 0 <= frozen <= epochs:  # else the checks of the epochs tell
        yield (
            f"--freeze_epochs must be in [0, {epochs}], the epochs of --train_epochs, got {frozen}."
        )
    if settings["backbone_weights"] is None:
        return
    try:
        path = local_path("--backbone_weights", settings["backbone_weights"])
    except UserError:  # which the checks of all paths tell
        return
    name = settings["backbone"]
    if str(path).lower() in ("imagenet", "imagenet21k", "none"):
        yield (
            f"--backbone_weights={path}: nothing is downloaded here. Where there is a network, "
            f'python -c "import keras; keras.applications.{name}(include_top=False, '
            f"weights='imagenet').save_weights('{name}.weights.h5')\" writes a file to give here."
        )
    elif not str(path).endswith(_ENDS):
        yield f"--backbone_weights={path} must be a file {', '.join(_ENDS)}, as Keras writes them."
    elif not path.is_file():
        yield f"--backbone_weights={path} is not a file; give the path of one."
    elif not os.access(path, os.R_OK):
        yield f"--backbone_weights={path} can't be read; make it readable."


def recorded(path):
    """What a run records of the file: its name and a digest, and not where it is."""
    if path is None:
        return None
    path = local_path("--backbone_weights", path)
    stat = path.stat()
    return f"{path.name} (sha256 {_digest(path, stat.st_mtime_ns, stat.st_size)})"


@functools.lru_cache(maxsize=8)
def _digest(path, changed, size):
    del changed, size  # a file that is written again has another digest
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def load(model, path):
    """Gives the trunk of a network, all of it but its last layer, the weights in a file.

    Args:
        model: The network.
        path: A file of weights of the same trunk, or a saved model that begins with it; what comes
            after the trunk in it is not used.

    Raises:
        UserError: The file is damaged or of another network.
    """
    import keras

    path = pathlib.Path(path)
    trunk = _trunk(model)
    nothing = [np.full_like(w, np.nan if w.dtype.kind == "f" else 0) for w in trunk.get_weights()]
    trunk.set_weights(nothing)  # Keras passes over what a file of another network lacks
    try:
        if path.suffix == ".keras":
            _take(trunk, keras.models.load_model(path, compile=False).get_weights())
        else:
            trunk.load_weights(path)
        _check_filled(trunk)
    # Keras, h5py and zipfile have errors of many kinds for a file that does not fit.
    except Exception as error:
        raise UserError(
            f"--backbone_weights={path} does not hold the weights of {model.name} without its "
            f"classes (include_top=False), or is damaged: {in_a_line(error)[:300]}"
        ) from error
    _as_imagenet_has_it(trunk)
    print(f"{path.name}: weights of all of {model.name} but its last layer")


def _trunk(model):
    """All but the last layer, as the network of its own that files are of."""
    import keras

    inside = model.layers[-2]
    if isinstance(inside, keras.Model):  # a network of keras.applications
        return inside
    return keras.Model(model.inputs, inside.output)


def _take(trunk, found):
    """Assigns the first of the arrays to the variables, which have to be of their shapes."""
    variables = trunk.weights
    shapes = [tuple(v.shape) for v in variables]
    theirs = [array.shape for array in found[: len(variables)]]
    if shapes != theirs:
        pairs = zip(theirs, shapes, strict=False)
        wrong = [f": {theirs} instead of {ours}" for theirs, ours in pairs if theirs != ours][:1]
        raise ValueError(
            f"it has {len(found)} variables, and the first {len(shapes)} are not the trunk's"
            + "".join(wrong)
        )
    trunk.set_weights(found[: len(variables)])


def _check_filled(trunk):
    """Raises ValueError where a variable has not been given a value."""
    for variable in trunk.weights:
        value = np.asarray(variable.numpy(), "float32")
        if not np.isfinite(value).all():
            raise ValueError(f"it has no finite values for {variable.path}")


def _as_imagenet_has_it(trunk):
    """EfficientNetB0 to B7 divide by the square root of ImageNet's deviations twice, where Keras
    loads its own file, and once, where it loads any other: the second is put into the first.
    """
    import keras

    for layer in trunk.layers:
        if not isinstance(layer, keras.layers.Normalization) or not layer.weights:
            continue
        mean, variance, count = layer.get_weights()
        if np.allclose(mean, _MEAN, atol=1e-3) and np.allclose(variance, _DEVIATION, atol=1e-3):
            layer.set_weights([mean, variance**2, count])
        layer.finalize_state()  # it computes with what was there when this was called
