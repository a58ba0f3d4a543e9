"""A batch for the benchmarks of losses, and its right answer: no framework takes part.

The answer is computed by numpy in float64 from the papers' formulas, a piece of the batch at a
time.
"""

import collections
import concurrent.futures
import dataclasses
import functools
import os

import numpy as np

GAMMA = 1.0

# Largest error of a gradient, in units of its example's weight / N, and of the loss, relative.
TOLERANCE = 1e-4
_PIECE = 2**20  # elements
_THREADED_BYTES = 2**20  # a smaller copy is done before a second thread has woken up


class WrongAnswer(RuntimeError):  # noqa: N818 (an answer, not a failure of the program)
    """A contender's loss or gradient is wrong; the message says by how much."""


class Unavailable(RuntimeError):  # noqa: N818
    """A contender can't run on this machine; the message says why."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """One batch: `labels` int64 [N], `logits` float32 [N, C], `weights` float32 [C].

    `loss` is a name of `benchmarks.losses.LOSSES`.
    """

    loss: str
    labels: np.ndarray
    logits: np.ndarray
    weights: np.ndarray

    @classmethod
    def random(cls, loss, size, seed=0, dtype="float32"):
        """Labels of a long tail (5000 to 100), its class-balanced weights, normal logits * 2."""
        return cls(loss, *_batch(*size, seed, dtype))

    def clipped_by_keras(self, rows=slice(None)):
        """The examples whose probabilities Keras clips at 1e-7: no loss and gradient of theirs."""
        logits = self.logits[rows].astype("float64")
        own = np.take_along_axis(logits, self.labels[rows][:, None], axis=1)[:, 0]
        return np.logaddexp.reduce(logits, axis=1) - own > 16.0

    def mean_loss(self):
        """The right answer, a float."""
        N, C = self.logits.shape
        step = max(1, _PIECE // C)
        with concurrent.futures.ThreadPoolExecutor(cores()) as pool:
            pieces = pool.map(
                lambda start: self.answer(slice(start, start + step))[0].sum(), range(0, N, step)
            )
            return float(sum(pieces) / N)

    def answer(self, rows):
        """`(weighted losses [n], gradient of the batch's mean [n, C])` of some rows, float64."""
        z, y = self.logits[rows].astype("float64"), self.labels[rows]
        hot = np.zeros_like(z)
        hot[np.arange(len(y)), y] = 1.0
        weight = self.weights[y].astype("float64")[:, None]
        losses, slopes = _ANSWERS[self.loss](z, hot)
        return weight[:, 0] * losses, weight * slopes / len(self.labels)


@functools.lru_cache(1)
def _batch(N, C, seed, dtype):
    """`(labels, logits, weights)`; the last is kept, as the losses take turns with the same."""
    import cb_keras  # which imports the backend of Keras

    generator = np.random.default_rng(seed)
    counts = cb_keras.long_tailed_counts(C, 5000, 0.02)
    labels = generator.choice(C, N, p=counts / counts.sum())
    logits = 2.0 * generator.standard_normal((N, C), dtype="float32")
    if dtype != "float32":
        import ml_dtypes  # Keras brings it

        logits = logits.astype(getattr(ml_dtypes, dtype, dtype))
    return labels, logits, cb_keras.class_balanced_weights(counts)


def _softmax(z, hot, gamma=0.0):
    log_p = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    p = np.exp(log_p)
    ce = -(hot * log_p).sum(1)
    q = 1.0 - np.exp(-ce)
    by_ce = q**gamma + gamma * q ** (gamma - 1.0) * np.exp(-ce) * ce if gamma else np.ones_like(ce)
    return q**gamma * ce, by_ce[:, None] * (p - hot)


def _sigmoid(z, hot, gamma=0.0):
    x = np.where(hot == 1.0, -z, z)
    q = 1.0 / (1.0 + np.exp(-x))  # 1 - p_t
    bce = np.logaddexp(0.0, x)
    slope = q**gamma * (gamma * (1.0 - q) * bce + q)
    return (q**gamma * bce).sum(1), np.where(hot == 1.0, -slope, slope)


_ANSWERS = {
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "focal": lambda z, hot: _sigmoid(z, hot, GAMMA),
    "softmax_focal": lambda z, hot: _softmax(z, hot, GAMMA),
}


LOSS_NAMES = tuple(_ANSWERS)


def numpy_of(array):
    """A framework's array as one of numpy's, on the CPU without a copy."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        if str(array.dtype) == "torch.bfloat16":  # which numpy does not know
            array = array.float()
        return array.numpy()
    return np.asarray(array)


def cores():
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


def threaded_copy(source, threads):
    """Function of a target that copies `source` there by so many threads, and returns it."""
    pool = concurrent.futures.ThreadPoolExecutor(threads)

    def copy(target):
        if source.nbytes < _THREADED_BYTES:
            np.copyto(target, source)
        else:
            parts = (np.array_split(array.reshape(-1), threads) for array in (target, source))
            collections.deque(pool.map(np.copyto, *parts), maxlen=0)
        return target

    return copy
