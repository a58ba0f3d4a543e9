"""Tensors of PyTorch in eager code that a loss need not look into, which takes longer than it."""

from typing import Any

import torch

from cb_keras import private_api
from cb_keras.fused.doors.torch_kernels import FLOATS

_IDS = (torch.int64, torch.int32)


def are_plain(labels: Any, logits: Any, num_classes: int) -> bool:
    """Whether these are class ids `[N]` and logits `[N, C]` as they come, where Keras computes.

    Args:
        labels: `y_true` as it was given.
        logits: `y_pred` as it was given.
        num_classes: C.
    """
    if type(labels) is not torch.Tensor or type(logits) is not torch.Tensor:
        return False
    return (
        labels.dtype in _IDS
        and logits.dtype in FLOATS
        and labels.dim() == 1
        and tuple(logits.shape) == (labels.shape[0], num_classes)
        and not torch.compiler.is_compiling()
        and labels.device == logits.device
        and logits.device.type == private_api.torch_device().partition(":")[0]
        and private_api.keras_mask(logits) is None
        and private_api.keras_logits(logits) is None
    )
