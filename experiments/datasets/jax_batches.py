"""Batches as JAX takes them: the images of `pipeline` to the bit, cropped and mirrored by XLA."""

import concurrent.futures
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from experiments.datasets import draws, jax_mixing, recipe_draws
from experiments.datasets.jax_randaugment import RandAugment
from experiments.datasets.recipe import Recipe

# Beyond so many steps a call can't be interrupted for too long, and shows no progress.
_MOST_STEPS = 512
_MOST_BYTES = 2**28  # of images that are copied to the device for one call


@dataclasses.dataclass(frozen=True)
class Call:
    """What one call of a compiled program takes, of one or more steps.

    Attributes:
        end: The step that it ends before.
        inputs: `(images, labels, chosen, drawn)`, of which `chosen` int32 `[S, B]` are positions
            in images and labels, and `drawn` is a dict of tuples of arrays `[S, B]` or `[S]`.
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
        recipe: `Recipe` of the training; None for nothing more.
    """

    def __init__(self, split, batch_size, recipe=None):
        self.split, self.batch_size, self.recipe = split, batch_size, recipe or Recipe()
        self.number = len(split.labels)
        self.resident = self.randaugment = None
        if self.recipe.randaugment:
            self.randaugment = RandAugment(self.recipe.randaugment, split.images.shape[-1])
        if _stays(split.images, copies=2 if self.randaugment else 1):
            self.resident = jax.device_put(np.asarray(split.images[:])), jnp.asarray(split.labels)

    def layout(self):
        """Steps and images a step of each call of an epoch, pairs in their order."""
        whole, rest = divmod(self.number, self.batch_size)
        calls = -(-whole // self._most_steps()) if whole else 0
        sizes = [whole // calls + (i < whole % calls) for i in range(calls)]
        return [(steps, self.batch_size) for steps in sizes] + ([(1, rest)] if rest else [])

    def as_they_are(self):
        """A plan for `calls`: the images in the split's own order, nothing drawn."""
        return np.arange(self.number, dtype="int32"), {}, None

    def plan(self, order, augmentation, seed, epoch):
        """What is drawn for an epoch of a training, for `calls`.

        Args:
            order: Positions int32 `[N]`.
            augmentation: As of `draws.augmentation`.
            seed: Seed of the run.
            epoch: From 0.
        """
        steps = np.arange(draws.steps_per_epoch(self.number, self.batch_size))
        shape = self.split.images.shape[1:]
        drawn = recipe_draws.of_epoch(self.recipe, shape, seed, epoch, self.number, self.batch_size)
        crop = draws.augmentation(augmentation, shape, seed, epoch, steps, self.batch_size)
        if crop is not None:
            drawn["crop"] = (crop.rows, crop.columns, crop.flips)
        return order, drawn, (seed, epoch) if self.randaugment else None

    def calls(self, plan):
        """Yields the `Call`s of an epoch, of what `plan` or `as_they_are` gave for it."""
        order, drawn, augmented = plan
        resident = self.resident
        if resident and augmented:  # all images of the epoch at once, in its order
            images, labels = resident
            resident = self.randaugment(images, order, *augmented), labels[order]
            order = np.arange(self.number, dtype="int32")

        def make(place):
            first, (steps, size) = place
            start, end = first * self.batch_size, first + steps
            chosen = order[start : start + steps * size].reshape(steps, size)
            of_call = jax.tree.map(
                lambda d: d[first:end] if d.ndim == 1 else d[first:end, :size], drawn
            )
            inputs = (*resident, chosen) if resident else self._read(chosen, start, augmented)
            return Call(end, (*inputs, of_call))

        layout = self.layout()
        firsts = np.cumsum([0, *(steps for steps, _ in layout)]).tolist()
        return ahead(make, zip(firsts, layout, strict=False))

    def batch(self, images, labels, chosen, drawn):
        """A batch as the network takes it, of one step of a `Call`'s inputs.

        Returns:
            `(images uint8 [B, H, W, channels], labels int32 [B])`; where images are mixed
            `(float32, float32 [B, C])` of a training, and labels `[B, C]` of `as_they_are` too.
        """
        recipe = self.recipe
        x, y = pixels(images, chosen, drawn.get("crop")), labels[chosen]
        if "cutout" in drawn:
            x = jax_mixing.cutout(x, recipe.cutout, *drawn["cutout"])
        if "mix" in drawn:
            return jax_mixing.mix(x, y, recipe.num_classes, drawn["mix"])
        return x, jax.nn.one_hot(y, recipe.num_classes) if recipe.mixes else y

    def _read(self, chosen, start, augmented):
        """`(images, labels, positions in them)` of positions in the split, from a place on."""
        flat = chosen.ravel()
        images = jax.device_put(self.split.images[flat])
        positions = np.arange(flat.size, dtype="int32")
        if augmented:
            images = self.randaugment(images, positions, *augmented, first=start)
        return images, jnp.asarray(self.split.labels[flat]), positions.reshape(chosen.shape)

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


def _stays(images, copies=1):
    """Whether the images are kept on the device: those in memory on the CPU, on a GPU what fits."""
    if not rolled():
        return isinstance(images, np.ndarray)
    known = jax.devices()[0].memory_stats() or {}
    if "bytes_limit" not in known:
        return True
    free = known["bytes_limit"] - known.get("bytes_in_use", 0)
    return copies * int(np.prod(images.shape)) <= free // 2  # the other half is for the training


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
