"""Order and augmentation of a training in NumPy: the bits that `pipeline` draws with TensorFlow.

TensorFlow's stateless random numbers are those of Philox4x32-10 with a key and a counter that are
themselves drawn from the seed. They are integers made of integers, so that the same numbers can be
drawn without TensorFlow, and for all steps of an epoch at once.

Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
"""

import dataclasses
import math

import numpy as np

from experiments.runs import sampling

# What a stream of random numbers is for.
ORDER, CROP_ROWS, CROP_COLUMNS, FLIP = range(4)
RANDAUGMENT, CUTOUT, MIX = range(16, 19)

_ROUNDS = 10
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], "uint64")
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], "uint32")
_SCRAMBLING_KEY = np.array([0x3EC8F720, 0x02461E29], "uint32")
_LOW = np.uint64(0xFFFFFFFF)


@dataclasses.dataclass(frozen=True)
class Draws:
    """What is drawn for the images of some steps.

    Attributes:
        rows: First row of the crop in the padded image, int32 `[S, B]`.
        columns: First column of the crop, int32 `[S, B]`.
        flips: Whether the image is mirrored, bool `[S, B]`.
    """

    rows: np.ndarray
    columns: np.ndarray
    flips: np.ndarray


def steps_per_epoch(num_images, batch_size):
    """Steps of an epoch; the last, partial batch counts."""
    return math.ceil(num_images / batch_size)


def padding(side):
    """Pixels of zeros around an image before it is cropped: an eighth of its side."""
    return max(1, round(side / 8))


def uniform(number, seed, epoch):
    """Every example once, in an order that seed and epoch determine: `samplers.uniform`.

    Args:
        number: How many examples there are, N.
        seed: Integer in `[0, 2^31)`.
        epoch: From 0.

    Returns:
        int32 `[N]`, a permutation.
    """
    drawn = bits(stream(seed, epoch, np.zeros(1, "int64"), ORDER), max(number - 1, 0))[0]
    # The steps of Fisher and Yates depend on each other: a loop over integers of Python's own.
    others = (drawn.astype("int64") % np.arange(number, 1, -1)).tolist()
    order = list(range(number))
    for i, other in enumerate(others):
        order[i], order[i + other] = order[i + other], order[i]
    return np.array(order, "int32")


def order(sampler, labels, seed, epoch, epochs):
    """Which images an epoch has, and in which order.

    Args:
        sampler: A value of `--sampler`; all but `"uniform"` are the orders of `cb_keras.sampling`.
        labels: Class ids of all training images, integers `[N]`.
        seed: Integer in `[0, 2^31)`.
        epoch: From 0.
        epochs: Epochs of the training, which the progressive sampler goes by.

    Returns:
        Positions int32 `[N]`.
    """
    if sampler == sampling.UNIFORM:
        return uniform(len(labels), seed, epoch)
    from cb_keras.sampling import epoch_order, progressive_order

    if sampler == sampling.PROGRESSIVE:
        found = progressive_order(labels, seed, epoch, epochs)
    else:
        found = epoch_order(labels, sampling.power(sampler), seed, epoch)
    return found.astype("int32")


def augmentation(kind, image_shape, seed, epoch, steps, batch_size):
    """What is drawn for each of `batch_size` images of some steps; None for the kind `"none"`.

    Args:
        kind: `"none"`, `"crop"` or `"crop_flip"`.
        image_shape: `(height, width, channels)`.
        seed: Integer in `[0, 2^31)`.
        epoch: From 0.
        steps: Steps within the epoch, integers `[S]`.
        batch_size: Images of each of them, B.

    Returns:
        `Draws`, or None.
    """
    if kind == "none":
        return None
    steps = np.asarray(steps, "int64")

    def draw(purpose, high):
        return integers(stream(seed, epoch, steps, purpose), batch_size, high)

    flip = kind == "crop_flip"
    return Draws(
        rows=draw(CROP_ROWS, 2 * padding(image_shape[0]) + 1),
        columns=draw(CROP_COLUMNS, 2 * padding(image_shape[1]) + 1),
        flips=draw(FLIP, 2) == 1 if flip else np.zeros((len(steps), batch_size), bool),
    )


def integers(seeds, number, high):
    """Integers in `[0, high)`, int32 `[S, number]`, of seeds int64 `[S, 2]`."""
    return (bits(seeds, number) % np.uint32(high)).astype("int32")


def stream(seed, epoch, steps, purpose):
    """Seeds int64 `[S, 2]` of one stream for each step, as `pipeline` folds them."""
    key = np.array([[seed, purpose]], "int64")
    for numbers in (np.array([epoch], "int64"), steps):
        low, high = bits(key, 2).astype("uint64").T
        first = (low | high << np.uint64(32)).view("int64")
        key = np.stack(np.broadcast_arrays(first, numbers), axis=1)
    return key


def split(seeds, number):
    """Seeds of `number` streams, each int64 `[S, 2]`, of each of seeds int64 `[S, 2]`."""
    words = bits(seeds, 4 * number).astype("uint64").reshape(len(seeds), number, 2, 2)
    keys = (words[..., 0] | words[..., 1] << np.uint64(32)).view("int64")
    return [keys[:, i] for i in range(number)]


def bits(seeds, number):
    """The first random bits of each stream, uint32 `[S, number]`, of seeds int64 `[S, 2]`."""
    words = np.ascontiguousarray(seeds).view("uint64")
    counter = [words[:, 0] & _LOW, words[:, 0] >> np.uint64(32)]
    counter += [words[:, 1] & _LOW, words[:, 1] >> np.uint64(32)]
    mixed = _philox(counter, [np.full(len(words), k, "uint64") for k in _SCRAMBLING_KEY])
    blocks = np.arange(-(-number // 4), dtype="uint64")
    counter = [blocks & _LOW, blocks >> np.uint64(32), mixed[2][:, None], mixed[3][:, None]]
    drawn = _philox(np.broadcast_arrays(*counter), [mixed[0][:, None], mixed[1][:, None]])
    drawn = np.stack(drawn, axis=-1).astype("uint32")
    return drawn.reshape(len(words), -1)[:, :number]


def _philox(counter, key):
    """Ten rounds of Philox4x32: four words of 32 bits from four of a counter and two of a key.

    All are uint64 arrays that hold 32 bits, and broadcast.
    """
    a, b, c, d = counter
    first, second = key
    for _ in range(_ROUNDS):
        of_a, of_c = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, c = (of_c >> np.uint64(32)) ^ b ^ first, (of_a >> np.uint64(32)) ^ d ^ second
        b, d = of_c & _LOW, of_a & _LOW
        first, second = (first + _WEYL[0]) & _LOW, (second + _WEYL[1]) & _LOW
    return a, b, c, d
