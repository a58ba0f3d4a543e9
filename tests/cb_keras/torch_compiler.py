"""What PyTorch's compiler makes of Keras' own operations, for the tests."""

import functools

import keras
import torch

from tests.cb_keras.cases import IDS, LOGITS


@functools.cache
def keras_itself_is_followed():
    """Whether this PyTorch's compiler makes one graph of this Keras' own operations."""

    def own(labels, logits):
        exceeds = keras.ops.any(keras.ops.exp(logits) > 1.0, axis=-1)
        loss = keras.ops.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return keras.ops.where(exceeds, loss, 0.0)

    try:
        torch.compile(own, fullgraph=True, backend="aot_eager")(
            torch.tensor(IDS), torch.tensor(LOGITS)
        )
    except torch._dynamo.exc.Unsupported:
        return False
    return True
