"""Memory of large gradients on the CPU, which one training step after another uses.

PyTorch returns the memory of a large tensor to the system when it dies, and gets it anew page by
page, zeroed, in the next step: that takes longer than the loss. What a gradient leaves is kept here
for the next that fits, and returned when one comes that fits nowhere; so no more is ever kept than
was in use at one time.
"""

import collections
import contextlib
import ctypes
import mmap
from typing import Any

import torch

LEAST = 2**18  # numbers; below it the C library keeps what is freed
_PAGE = 2**21  # of the large ones, which the system is asked for
_unused: "collections.deque[mmap.mmap]" = collections.deque()


class _Loan:
    """A block in use, for as long as this lives."""

    def __init__(self, block: mmap.mmap) -> None:
        self._block = block

    def __del__(self, unused: "collections.deque[mmap.mmap]" = _unused) -> None:
        unused.append(self._block)


def empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor whose numbers are not set, as `torch.empty_like`."""
    if tensor.numel() < LEAST or tensor.device.type != "cpu":
        return torch.empty_like(tensor, memory_format=torch.contiguous_format)
    size = tensor.numel() * tensor.element_size()
    block = _unused_block(size) or _new_block(size)
    memory: Any = (ctypes.c_char * size).from_buffer(block)
    memory.loan = _Loan(block)
    return torch.frombuffer(memory, dtype=tensor.dtype).view(tensor.shape)


def _unused_block(size: int) -> mmap.mmap | None:
    """A block of that many bytes and not many more, no longer among the unused; else None."""
    for _ in range(len(_unused)):
        try:
            block = _unused.popleft()
        except IndexError:  # another thread took it
            return None
        if size <= len(block) <= 2 * size + _PAGE:
            return block
        _unused.append(block)
    _unused.clear()
    return None


def _new_block(size: int) -> mmap.mmap:
    whole = -(-size // _PAGE) * _PAGE
    block = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return block
