"""Checks of the kernels without TensorFlow. No part of the library, nor of what names it."""
