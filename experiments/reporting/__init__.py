"""Reports of finished runs: found, grouped, drawn and written; no TensorFlow."""
