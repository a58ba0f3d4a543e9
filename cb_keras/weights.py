"""From class counts to the effective number of samples and to class weights.

The arithmetic is float64 and compiled by XLA (TensorFlow, JAX), always on the CPU, so that the
same counts give the same weights whatever accelerator the machine has.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from cb_keras import private_api
from cb_keras.checks import check_beta, check_choice, check_power
from cb_keras.checks.seen import in_tensorflow_graph
from cb_keras.counts import ByClass, by_class, check_class_counts

Normalize = Literal["classes", "examples"]
Empty = Literal["raise", "zero"]
Beta = float | Sequence[float] | NDArray[np.floating[Any]] | Mapping[Any, float]


def effective_number(class_counts: ByClass, beta: Beta) -> NDArray[np.float64]:
    """Effective number of samples of each class.

    `E_n = (1 - beta^n) / (1 - beta)`, evaluated as
    `expm1(n log1p(-(1 - beta))) / -(1 - beta)`: the textbook form cancels for small `n (1 - beta)`
    and loses all digits there. `beta = 0` gives 1 for every class, `beta = 1` the limit `n`.

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1 (whole floats too);
            a dict, Counter or pandas Series is read by class.
        beta: Float in `[0, 1]`, or one for each class, `[C]`, such as `1 - 1 / volumes` of
            `class_volumes`.

    Returns:
        float64 numpy array of shape `[C]`, relative error below 1e-6 for n up to 1e9.

    Raises:
        ValueError: A count is not a whole number >= 1, there is no class, or `beta` is outside
            `[0, 1]`, or not one for each class.

    Source: Cui et al., "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019,
    equation 2.
    """
    counts = check_class_counts(class_counts)
    return _run(_effective_number, counts, _checked_beta(beta, counts.size))


def class_balanced_weights(
    class_counts: ByClass,
    beta: Beta = 0.9999,
    power: float = 1.0,
    normalize: Normalize = "classes",
    empty: Empty = "raise",
) -> NDArray[np.float32]:
    """Weights of the classes, scaled to the sum C or to the mean 1 over the training examples.

    `w_c = C * E_c^-power / sum_k E_k^-power` with `E_c` the effective number of class c; with
    `normalize="examples"` it is `w_c = sum_k n_k / sum_k n_k E_k^-power * E_c^-power`.
    `power = 0` weights every class 1, 0.5 is the square root of the class-balanced term, 1 the
    term itself, 2 its square. With `beta = 1` and `power = 1` it is inverse frequency.

    Args:
        class_counts: Training examples per class, shape `[C]`, integers >= 1; a dict, Counter or
            pandas Series is read by class.
        beta: Float in `[0, 1]`, or one for each class, as in `effective_number`.
        power: Any finite real number; a negative one favours the large classes.
        normalize: `"classes"` scales the weights to the sum C, as Cui et al. `"examples"` scales
            them so that the mean weight of the training examples is 1, as it is without weights:
            the power then changes the direction of a step, and not its size as well.
        empty: `"raise"` refuses a class without examples. `"zero"` gives it the weight 0; the
            others are weighted as if it were not there, so that they sum to their number.

    Returns:
        float32 numpy array of shape `[C]`.

    Raises:
        ValueError: As `effective_number`; `power` is not finite, or no class has examples.

    Examples:
        >>> import cb_keras
        >>> cb_keras.class_balanced_weights([3, 1], beta=1.0).tolist()
        [0.5, 1.5]
        >>> cb_keras.class_balanced_weights([3, 1], beta=1.0, normalize="examples").tolist()
        [0.6666666865348816, 2.0]
        >>> cb_keras.class_balanced_weights([3, 0, 1], beta=1.0, empty="zero").tolist()
        [0.5, 0.0, 1.5]

    Source: Cui et al. 2019, equation 4 (power 1); Park & Hwang 2022 (other powers).
    """
    counts = checked_counts(class_counts, empty)
    by_examples = check_choice("normalize", normalize, ("classes", "examples")) == "examples"
    function = _weights_of_mean_one if by_examples else _class_balanced_weights
    weights, kept = np.zeros(counts.size), counts > 0
    betas = _checked_beta(beta, counts.size)
    betas = betas[kept] if np.ndim(betas) else betas
    weights[kept] = _run(function, counts[kept], betas, check_power(power))
    return weights.astype("float32")


def checked_counts(class_counts: ByClass, empty: Empty) -> NDArray[np.float64]:
    """Counts that class weights can be computed from, float64 `[C]`, or raises ValueError."""
    if check_choice("empty", empty, ("raise", "zero")) == "raise":
        remedy = ', or give it the weight 0, empty="zero"'
        return check_class_counts(class_counts, remedy=remedy)
    counts = check_class_counts(class_counts, minimum=0)
    if not counts.any():
        raise ValueError(f"`class_counts` has no class with examples, got {class_counts!r}.")
    return counts


def _checked_beta(beta: Any, num_classes: int) -> Any:
    """One beta as a float, or that of each class as a float64 numpy array `[C]`."""
    values = by_class("beta", beta)
    if np.ndim(values) == 0:
        return check_beta(values)
    if np.shape(values) != (num_classes,):
        raise ValueError(
            f"`beta` must be a number, or one for each of the {num_classes} classes, got shape "
            f"{np.shape(values)}."
        )
    return np.array([check_beta(value) for value in np.asarray(values)])


def pairs_of_weights(pairs: NDArray[np.float64], beta: float, power: float) -> NDArray[np.float32]:
    """`class_balanced_weights` of each pair of counts `[..., 2]`, which are checked already."""
    return _run(_class_balanced_weights, pairs, beta, power).astype("float32")


def _log_and_effective_number(counts: Any, beta: Any) -> tuple[Any, Any]:
    one_minus_beta = 1.0 - beta  # exact for beta >= 1/2
    limit = ops.equal(one_minus_beta, 0.0)
    divisor = ops.where(limit, ops.ones_like(one_minus_beta), one_minus_beta)
    finite = ops.divide(ops.expm1(counts * ops.log1p(-divisor)), -divisor)
    number = ops.where(limit, counts, finite)
    return ops.log(number), number


def _effective_number(counts: Any, beta: Any) -> Any:
    return _log_and_effective_number(counts, beta)[1]


def _class_balanced_weights(counts: Any, beta: Any, power: Any) -> Any:
    unscaled = _unscaled_weights(counts, beta, power)
    classes = ops.cast(ops.shape(counts)[-1], unscaled.dtype)
    return classes * unscaled / ops.sum(unscaled, axis=-1, keepdims=True)


def _weights_of_mean_one(counts: Any, beta: Any, power: Any) -> Any:
    unscaled = _unscaled_weights(counts, beta, power)
    return ops.sum(counts) / ops.sum(counts * unscaled) * unscaled


def _unscaled_weights(counts: Any, beta: Any, power: Any) -> Any:
    log_number, _ = _log_and_effective_number(counts, beta)
    # Relative to the class of the largest weight, so that no power overflows.
    largest = ops.max(log_number, axis=-1, keepdims=True)
    smallest = ops.min(log_number, axis=-1, keepdims=True)
    anchor = ops.where(power < 0, largest, smallest)
    distance = log_number - anchor
    return ops.where(ops.equal(distance, 0.0), 1.0, ops.exp(-power * distance))


def _run(function: Callable[..., Any], *args: Any) -> NDArray[np.float64]:
    """Runs `function` on float64 tensors of `args`, compiled; returns a numpy array."""
    if _torch_transforms():
        return _in_another_thread(lambda: _run(function, *args))
    backend = keras.backend.backend()
    with _float64_on_cpu(backend):
        tensors = [
            ops.convert_to_tensor(np.asarray(arg, "float64"), dtype="float64") for arg in args
        ]
        compiled = _compiled(function, backend, tuple(tensor.ndim for tensor in tensors))
        if backend == "tensorflow":
            import tensorflow as tf

            try:
                return compiled(*tensors).numpy()
            except tf.errors.InvalidArgumentError:
                # tf.debugging.enable_check_numerics adds ops that XLA can't compile.
                return function(*tensors).numpy()
        return keras.ops.convert_to_numpy(compiled(*tensors))


@functools.cache
def _compiled(
    function: Callable[..., Any], backend: str, ranks: tuple[int, ...]
) -> Callable[..., Any]:
    if backend == "tensorflow":
        import tensorflow as tf

        return tf.function(  # of any size, or each number of classes would be traced anew
            function,
            input_signature=[tf.TensorSpec([None] * rank, tf.float64) for rank in ranks],
            jit_compile=True,
            autograph=False,
        )
    if backend == "jax":
        import jax

        return jax.jit(function)
    return function


def constant_variable(value: NDArray[Any], name: str, dtype: str = "float32") -> keras.Variable:
    """A variable that is not trained; also while TensorFlow or JAX traces a function."""

    def make() -> keras.Variable:
        return keras.Variable(value, trainable=False, dtype=dtype, name=name)

    # A tf.function refuses variables made in its own thread.
    if in_tensorflow_graph() or _torch_transforms():
        return _in_another_thread(make)
    with _outside_of_tracing():
        return make()


def _torch_transforms() -> bool:
    """Whether a transform of `torch.func` is at work, in which no tensor has values."""
    return keras.backend.backend() == "torch" and private_api.torch_transforms()


def _in_another_thread(make: Callable[[], Any]) -> Any:
    """`make()` where nothing is traced: that is a matter of each thread."""
    with ThreadPoolExecutor(1) as other_thread:
        return other_thread.submit(make).result()


@contextlib.contextmanager
def _outside_of_tracing() -> Iterator[None]:
    """What is made in here has values at once, also while TensorFlow or JAX traces a function."""
    backend = keras.backend.backend()
    with contextlib.ExitStack() as stack:
        if backend == "tensorflow":
            import tensorflow as tf

            stack.enter_context(tf.init_scope())
        elif backend == "jax":
            import jax

            stack.enter_context(jax.ensure_compile_time_eval())
        elif backend == "torch":
            import torch

            stack.enter_context(torch.inference_mode(False))
        yield


def _cpu_of_jax() -> Any:
    """JAX's CPU; its first device where there is none, as with JAX_PLATFORMS=cuda."""
    import jax

    with contextlib.suppress(RuntimeError):
        return jax.local_devices(backend="cpu")[0]
    return jax.local_devices()[0]


@contextlib.contextmanager
def _float64_on_cpu(backend: str) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        stack.enter_context(_outside_of_tracing())  # a loss may be made while a function is traced
        if backend == "tensorflow":
            import tensorflow as tf

            stack.enter_context(tf.device("CPU:0"))
        elif backend == "jax":
            import jax

            stack.enter_context(private_api.jax_float64())
            stack.enter_context(jax.default_device(_cpu_of_jax()))
        else:
            stack.enter_context(keras.device("cpu"))  # "cpu:0" is another to PyTorch's compiler
        yield
