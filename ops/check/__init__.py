"""Checks of the kernels without TensorFlow. Not part of the library or of its digest."""
