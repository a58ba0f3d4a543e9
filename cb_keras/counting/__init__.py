"""Class counts of labels in any form: arrays, text, pandas, data sets, folders of class folders."""

from cb_keras.counting.binary import binary_counts
from cb_keras.counting.classes import class_counts

__all__ = ["binary_counts", "class_counts"]
