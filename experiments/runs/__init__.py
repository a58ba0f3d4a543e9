"""The files of a run directory: written whole, locked, read and checked; no TensorFlow."""
