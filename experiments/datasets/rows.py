"""Images that stay in a file: rows of an array that is mapped into memory."""

import hashlib

import numpy as np


class Rows:
    """Some rows of a memory-mapped array, in an order of their own; only what is asked for is read.

    It has `shape`, `dtype` and `len` as an array does, and gives arrays: `rows[3]`,
    `rows[10:20]`, `rows[[5, 1]]`.

    Args:
        array: uint8 array `[M, H, W, channels]`, as of `np.load(..., mmap_mode="r")`.
        digests: uint8 array `[M, 16]`, a digest of every row.
        chosen: Which rows they are, integers `[N]`.
    """

    def __init__(self, array, digests, chosen):
        self._array, self._digests = array, digests
        self._chosen = np.asarray(chosen, "int64")

    @property
    def shape(self):
        """Shape `[N, H, W, channels]`, a tuple."""
        return (len(self._chosen), *self._array.shape[1:])

    @property
    def dtype(self):
        """NumPy type of the array."""
        return self._array.dtype

    def __len__(self):
        return len(self._chosen)

    def __getitem__(self, positions):
        return np.asarray(self._array[self._chosen[positions]])

    def take(self, positions):
        """`Rows` of these positions; nothing is read."""
        return Rows(self._array, self._digests, self._chosen[positions])

    def digest(self):
        """Digest of all images in their order, as a hexadecimal text; no image is read for it."""
        digest = hashlib.blake2b(f"{self.dtype.name} {self.shape}".encode(), digest_size=16)
        digest.update(np.ascontiguousarray(self._digests[self._chosen]))
        return digest.hexdigest()

    def row_digests(self):
        """Digest of each image, uint8 `[N, 16]`, as `row_digest`; no image is read for it."""
        return self._digests[self._chosen]


def row_digest(image):
    """Digest of one image, 16 bytes, for `Rows`."""
    return hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest()
