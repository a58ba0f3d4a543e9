"""How far a run is saved, read without the framework that trained it."""

import json
import pathlib

NEWEST = "state.npz"


def header_of(arrays):
    """The dict with `epochs_done`, `state` and `names`, of the arrays of a checkpoint's file."""
    return json.loads(str(arrays["header"]))


def saved(folder):
    """Epochs of the newest checkpoint of a run directory; 0 without one, None if it can't be read.

    Args:
        folder: The run directory.
    """
    import numpy as np

    path = pathlib.Path(folder, "checkpoint", NEWEST)
    if not path.exists():
        return 0
    try:
        with np.load(path, allow_pickle=False) as file:
            return int(header_of(file)["epochs_done"])
    except Exception:  # zipfile and NumPy have many kinds for a damaged file
        return None
