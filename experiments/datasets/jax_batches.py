"""Batches as JAX takes them: the images of `pipeline` to the bit, cropped and mirrored by XLA."""

import concurrent.futures
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.datasets import draws

# Beyond so many steps a call can't be interrupted for too long, and shows no progress.
_MOST_STEPS = 512
_MOST_BYTES = 2**28  # of images that are copied to the device for one call


@dataclasses.dataclass(frozen=True)
class Call:
    """What one call of a compiled program takes, of one or more steps.

    Attributes:
        end: The step that it ends before.
        inputs: `(images, labels, chosen, Draws or None)`, of which `chosen` int32 `[S, B]` are
            positions in images and labels.
    """

    end: int
    inputs: tuple


class Feed:
    """The batches of a split, an epoch at a time.

    Images that fit are copied to the device once and stay there. Of others, as of a folder of more
    images than memory, those of the next call are read while the device computes.

    Args:
        split: `datasets.Split`.
        batch_size: Images per step; the last batch of an epoch may be smaller.
    """

    def __init__(self, split, batch_size):
        self.split, self.batch_size = split, batch_size
        self.number = len(split.labels)
        self.resident = None
        if _stays(split.images):
            self.resident = jax.device_put(np.asarray(split.images[:])), jnp.asarray(split.labels)

    def layout(self):
        """Steps and images a step of each call of an epoch, pairs in their order."""
        whole, rest = divmod(self.number, self.batch_size)
        calls = -(-whole // self._most_steps()) if whole else 0
        sizes = [whole // calls + (i < whole % calls) for i in range(calls)]
        return [(steps, self.batch_size) for steps in sizes] + ([(1, rest)] if rest else [])

    def plan(self, order=None, augmentation="none", seed=0, epoch=0):
        """What is drawn for an epoch, for `calls`.

        Args:
            order: Positions int32 `[N]`; None for the split's own order.
            augmentation: As of `draws.augmentation`.
            seed: Seed of the run.
            epoch: From 0.
        """
        order = np.arange(self.number, dtype="int32") if order is None else order
        steps = np.arange(draws.steps_per_epoch(self.number, self.batch_size))
        shape = self.split.images.shape[1:]
        return order, draws.augmentation(augmentation, shape, seed, epoch, steps, self.batch_size)

    def calls(self, plan):
        """Yields the `Call`s of an epoch, of what `plan` gave for it."""
        order, drawn = plan

        def make(place):
            first, (steps, size) = place
            start, end = first * self.batch_size, first + steps
            chosen = order[start : start + steps * size].reshape(steps, size)
            of_call = drawn and tuple(
                getattr(drawn, field.name)[first:end, :size] for field in dataclasses.fields(drawn)
            )
            return Call(end, (*self._images(chosen), of_call))

        layout = self.layout()
        firsts = np.cumsum([0, *(steps for steps, _ in layout)]).tolist()
        return ahead(make, zip(firsts, layout, strict=False))

    def _images(self, chosen):
        """`(images, labels, positions in them)` of positions in the split."""
        if self.resident:
            return (*self.resident, chosen)
        flat = chosen.ravel()
        images = jax.device_put(self.split.images[flat])
        positions = np.arange(flat.size, dtype="int32").reshape(chosen.shape)
        return images, jnp.asarray(self.split.labels[flat]), positions

    def _most_steps(self):
        if not rolled():
            return 1
        if self.resident:
            return _MOST_STEPS
        bytes_a_step = self.batch_size * int(np.prod(self.split.images.shape[1:]))
        return min(_MOST_STEPS, max(1, _MOST_BYTES // bytes_a_step))


def rolled():
    """Whether several steps are one call: a loop, in which the CPU has no fast convolutions."""
    return jax.default_backend() != "cpu"


def pixels(images, chosen, drawn):
    """The images of a batch, as `pipeline.augment` makes them.

    Args:
        images: uint8 `[N, H, W, channels]`.
        chosen: Positions int32 `[B]`.
        drawn: `(rows, columns, flips)`, each `[B]`, of `draws.Draws`, or None for the images as
            they are.

    Returns:
        uint8 `[B, H, W, channels]`.
    """
    if drawn is None:
        return images[chosen]
    rows, columns, flips = drawn
    height, width = images.shape[1:3]
    across = jnp.arange(width)[None]
    across = jnp.where(flips[:, None], width - 1 - across, across)
    down = rows[:, None] + jnp.arange(height)[None] - draws.padding(height)
    across = columns[:, None] + across - draws.padding(width)
    inside = ((down >= 0) & (down < height))[:, :, None] & ((across >= 0) & (across < width))[
        :, None
    ]
    down, across = jnp.clip(down, 0, height - 1), jnp.clip(across, 0, width - 1)
    found = images[chosen[:, None, None], down[:, :, None], across[:, None]]
    return jnp.where(inside[..., None], found, jnp.zeros((), images.dtype))


def _stays(images):
    """Whether the images are kept on the device: those in memory on the CPU, on a GPU what fits."""
    if not rolled():
        return isinstance(images, np.ndarray)
    known = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in known:
        return True
    free = known["bytes_limit"] - known.get("bytes_in_use", 0)
    return int(np.prod(images.shape)) <= free // 2  # the other half is for the training


def ahead(make, places):
    """Yields `make(place)` of each place; the next is made in a thread meanwhile."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = None
        for place in places:
            following = pool.submit(make, place)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
