"""Programs: train, evaluate and their parts. Run them from the root of the repository."""

import os

# TensorFlow's start-up notices bury the programs' own lines; its warnings and errors stay.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
