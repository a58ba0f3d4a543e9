"""RandAugment on JAX: an image is a pure function of a key and of its place in the epoch.

It is `randaugment.RandAugment` with other random numbers. A GPU makes every operation on every
image of a piece and selects, since its images can't go different ways; a CPU goes from image to
image and makes what it has chosen.
"""

import functools

import jax
import jax.numpy as jnp

from experiments.datasets import draws, image_operations

_MOST_BYTES = 2**25  # of the images of a piece, of which several copies are made


class RandAugment:
    """Some operations on each image, chosen with equal chances, each of a random strength.

    Args:
        magnitude: As of `randaugment.RandAugment`.
        channels: Channels of the images.
        operations: Number of operations on each image.
    """

    def __init__(self, magnitude, channels, operations=2):
        self.operations = operations
        self._strengths = image_operations.strengths(magnitude)
        self._layers = image_operations.make_layers(magnitude)
        self._names = image_operations.names(channels)
        # One branch for all that moves an image, which differ in a matrix.
        still = [name for name in self._names if name not in image_operations.MOVED]
        kinds = [*still, "move", "nothing"]
        self._branches = [functools.partial(self._changed, kind) for kind in kinds]
        self._kinds = [kinds.index(name if name in kinds else "move") for name in self._names]
        self._kinds.append(kinds.index("nothing"))
        self._compiled = jax.jit(self._all)

    def __call__(self, images, chosen, seed, epoch, first=0):
        """The chosen images changed, uint8 `[M, H, W, channels]`.

        Args:
            images: uint8 `[N, H, W, channels]`.
            chosen: Positions of images, int32 `[M]`, in the order of the epoch; one that is chosen
                twice is changed twice.
            seed: Seed of the run.
            epoch: From 0.
            first: Place in the epoch of the first of them.
        """
        return self._compiled(images, chosen, seed, epoch, first)

    def _all(self, images, chosen, seed, epoch, first):
        key = jax.random.PRNGKey(draws.RANDAUGMENT)
        for number in (seed, epoch):
            key = jax.random.fold_in(key, number)
        places = first + jnp.arange(len(chosen))
        piece = None
        if jax.default_backend() != "cpu":
            piece = max(1, _MOST_BYTES // (4 * images[0].size))
        return jax.lax.map(
            lambda of: self._image(images[of[0]], jax.random.fold_in(key, of[1])),
            (chosen, places),
            batch_size=piece,
        )

    def _image(self, image, key):
        """One image `[H, W, channels]`, changed."""

        def operation(pixels, key):
            of_choice, of_operation = jax.random.split(key)
            chosen = jax.random.randint(of_choice, (), 0, len(self._names) + 1)
            kind = jnp.asarray(self._kinds)[chosen]
            return jax.lax.switch(kind, self._branches, pixels, chosen, of_operation), None

        keys = jax.random.split(key, self.operations)
        pixels, _ = jax.lax.scan(operation, image.astype("float32"), keys)
        return jnp.clip(jnp.round(pixels), *image_operations.PIXELS).astype("uint8")

    def _changed(self, kind, pixels, chosen, key):
        """An image after an operation, float32 `[H, W, channels]`."""
        if kind == "nothing":
            return pixels
        if kind == "move":
            return _moved(pixels, self._matrix(pixels.shape, chosen, key))
        if kind == "equalize":
            at_most = pixels.reshape(-1, 1, pixels.shape[-1]) < jnp.arange(1, 257)[:, None]
            at_most = jnp.sum(at_most, axis=0, dtype="float32")  # one kernel, as truncated values
            return image_operations.equalize(pixels[None], at_most[None])[0]
        stream = image_operations.Stream(key, jax.random.fold_in)
        return image_operations.transform(kind, self._layers[kind], pixels[None], stream)[0]

    def _matrix(self, shape, chosen, key):
        """Where in the image a pixel is taken from: `(row, column, 1)` is mapped by `[2, 3]`."""
        height, width = shape[:2]
        turned, moved = self._strengths
        drawn = jax.random.uniform(key, minval=-1.0, maxval=1.0)
        angle, part = drawn * turned * jnp.pi / 180, drawn * moved
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        down, across = (height - 1) / 2, (width - 1) / 2
        matrices = {
            "rotate": [
                [cos, sin, down - cos * down - sin * across],
                [-sin, cos, across + sin * down - cos * across],
            ],
            "shear_x": [[1, 0, 0], [part, 1, 0]],
            "shear_y": [[1, part, 0], [0, 1, 0]],
            "translate_x": [[1, 0, 0], [0, 1, part * width]],
            "translate_y": [[1, 0, part * height], [0, 1, 0]],
        }
        all_of_them = jnp.stack(
            [jnp.asarray(matrices[name], "float32") for name in image_operations.MOVED]
        )
        return all_of_them[chosen - self._names.index(image_operations.MOVED[0])]


def _moved(pixels, matrix):
    """An image `[H, W, channels]` at the places that the matrix gives, bilinear, gray outside."""
    height, width = pixels.shape[:2]
    rows, columns = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")
    down, across = (m[0] * rows + m[1] * columns + m[2] for m in matrix)
    top, left = jnp.floor(down), jnp.floor(across)
    found = 0.0
    for row, of_row in ((top, 1 - (down - top)), (top + 1, down - top)):
        for column, of_column in ((left, 1 - (across - left)), (left + 1, across - left)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            at = (
                jnp.clip(row, 0, height - 1).astype("int32"),
                jnp.clip(column, 0, width - 1).astype("int32"),
            )
            corner = jnp.where(inside[..., None], pixels[at], image_operations.GRAY)
            found += (of_row * of_column)[..., None] * corner
    return found
