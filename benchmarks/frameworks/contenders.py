"""Names of what is measured, the same on every framework."""

OURS = "cb_keras Loss"
COMPOSED = "composed"
KERAS = "Keras built-in"
NEW_COPY = "copy to new memory"
WARM_COPY = "copy to warm memory"  # by numpy in threads; not on a GPU

LOSSES_OF = (OURS, COMPOSED, KERAS)
COPIES = (NEW_COPY, WARM_COPY)

# Framework -> the ways in which its users run a loss. The first way is also that of the copies.
MODES = {
    "tensorflow": ("eager", "graph", "jit"),
    "torch": ("eager", "compile"),
    "jax": ("eager", "jit"),
}
