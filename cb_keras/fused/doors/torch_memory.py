"""Memory of large gradients on the CPU, which one training step after another uses.

PyTorch returns the memory of a large tensor to the system when it dies, and gets it anew page by
page, zeroed, in the next step: that takes longer than the loss. What a gradient leaves is kept here
for the next that fits. All that is held, in use or not, is at most twice what was in use at one
time of late; a process that computes no more losses keeps what it has.
"""

import contextlib
import ctypes
import mmap
import weakref
from typing import Any

import torch

LEAST = 2**18  # numbers; less than that is new memory soon enough
_PAGE = 2**21  # of the large ones, which the system is asked for
_FADES = 0.95  # of the most that was in use, with each gradient
# Threads share these without a lock, which a fork could leave locked: what one of them overwrites
# of another's is a loan that is not counted.
_unused: list[mmap.mmap] = []
_loans: "list[weakref.ref[_Loan]]" = []
_most = 0.0


class _Loan:
    """A block in use, for as long as this lives."""

    def __init__(self, block: mmap.mmap) -> None:
        self.block = block

    def __del__(self, unused: list[mmap.mmap] = _unused) -> None:
        unused.append(self.block)


def empty_like(tensor: torch.Tensor) -> torch.Tensor:
    """A dense tensor whose numbers are not set, as `torch.empty_like`.

    A large one on the CPU can't be resized in place.
    """
    if tensor.numel() < LEAST or tensor.device.type != "cpu":
        return _by_torch(tensor)
    size = tensor.numel() * tensor.element_size()
    try:
        block = _unused_block(size) or _new_block(size)
    except OSError:  # there is no more; PyTorch says so in its own words
        _unused.clear()
        return _by_torch(tensor)
    memory: Any = (ctypes.c_char * size).from_buffer(block)
    memory.loan = _Loan(block)
    _loans.append(weakref.ref(memory.loan))
    _return_surplus()
    # Detached, since users may write into a gradient, which they may not into a view made here.
    return torch.frombuffer(memory, dtype=tensor.dtype).view(tensor.shape).detach()


def _by_torch(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _unused_block(size: int) -> mmap.mmap | None:
    """The block that was used last of those with enough bytes, and not many more; else None."""
    for block in reversed(_unused.copy()):
        if size <= len(block) <= 2 * size + _PAGE:
            with contextlib.suppress(ValueError):  # another thread took it
                _unused.remove(block)
                return block
    return None


def _new_block(size: int) -> mmap.mmap:
    whole = -(-size // _PAGE) * _PAGE
    block = mmap.mmap(-1, whole, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a system without them
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


def _return_surplus() -> None:
    """Returns the blocks that were not used for longest, as far as there is too much."""
    global _most
    loans = [loan for loan in (known() for known in _loans.copy()) if loan is not None]
    _loans[:] = map(weakref.ref, loans)
    in_use = sum(len(loan.block) for loan in loans)
    _most = max(in_use, _FADES * _most)
    surplus = in_use + sum(map(len, _unused.copy())) - 2 * _most
    while surplus > 0 and _unused:
        with contextlib.suppress(IndexError):  # another thread took it
            surplus -= len(_unused.pop(0))
