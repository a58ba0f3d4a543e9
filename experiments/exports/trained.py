"""A trained model in a file, whichever kind: a SavedModel, or a run's `model.keras`."""

import importlib.util

from experiments.cli import UserError
from experiments.exports import keras_file


class Trained:
    """A model that is loaded, which says what it sees in images.

    Args:
        path: SavedModel folder, or `model.keras` of a run directory.

    Attributes:
        shape: `(height, width, channels)` that it takes, None for sides of any size.

    Raises:
        UserError: It can't be loaded.
    """

    def __init__(self, path):
        if keras_file.is_one(path):
            model = keras_file.load(path)
            self.shape = model.input_shape[1:]
            self._predict, self._model = keras_file.predict, model
            return
        saved_model = _saved_model(path)
        self._loaded = saved_model.load(path)  # for as long as its signature is used
        self._predict = saved_model.predict
        self._model = self._loaded.signatures["serving_default"]
        signature = self._model.structured_input_signature[1]
        self.shape = tuple(signature["images"].shape[1:].as_list())

    def predict(self, images, batch_size):
        """`(logits [N, C], classes [N])` as numpy arrays of uint8 images, in batches."""
        return self._predict(self._model, images, batch_size)


def description(path):
    """The dict that says what a model in a file is: of `saved_model.description`."""
    if keras_file.is_one(path):
        return keras_file.description(path)
    return _saved_model(path).description(path)


def of_run(folder):
    """Path of what is asked about images in a run directory: its SavedModel where it can be."""
    if (folder / "saved_model").exists() and importlib.util.find_spec("tensorflow"):
        return folder / "saved_model"
    return folder / "model.keras"


def _saved_model(path):
    """The module of SavedModels, which are TensorFlow's."""
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"--saved_model={path} is a SavedModel, which takes TensorFlow to load, and that is "
            "not installed: give model.keras of the run directory, or pip install "
            "'cb_keras[tensorflow]'."
        )
    from experiments.exports import saved_model

    return saved_model
