"""The fused op as primitives of JAX, with their derivatives of every order and in both modes.

    losses                 [N]
    losses_and_gradient    [N] and [N, C]
    scaled_rows            rows of [N, C], times upstream / applied
    row_products           sums over the rows of a product, divided by `applied`; what `scaled_rows`
                           is transposed, so that a derivative is transposed into one pass at most
    slope                  of 16-bit logits: the derivative of the losses in a direction; transposed
                           it is the gradient, which is computed again unless it is there already

JAX's custom_vjp has no forward mode, and the transpose of custom_jvp's rules can't be told; hence
primitives. What the op does not compute itself, derivatives by class weights and by soft labels and
the second ones, is by the formulas of `cb_keras.functional`. So is everything on platforms that the
core has no code for, and in what is exported, which may be run where there is no core.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from cb_keras import functional, private_api
from cb_keras.checks.seen import values_of
from cb_keras.fused.doors import jax_calls
from cb_keras.fused.kinds import Form

_FLOAT32 = jnp.float32


def losses(
    logits: Any, labels: Any, weights: Any, expected_upstream: Any, form: Form, gamma: float
) -> Any:
    """Losses `[N]`.

    Args:
        logits: `[N, C]`, float32, bfloat16 or float16.
        labels: Class ids `[N]` of a type that the core reads, or `[N, C]`, float32.
        weights: `[C]`, float32.
        expected_upstream: float32 scalar that the gradient of float32 and bfloat16 logits is
            computed for in the forward pass.
        form: The loss, and what is fixed of it.
        gamma: Finite float >= 0.
    """
    return _losses.bind(logits, labels, weights, expected_upstream, form=form, gamma=gamma)


def _formula(form: Form, gamma: float, logits: Any, labels: Any, weights: Any) -> Any:
    return functional.prepared_crossentropy(
        form.kind,
        labels,
        logits.astype(_FLOAT32),
        weights,
        gamma,
        labels.ndim == 1,
        form.label_smoothing,
        form.ignore_class,
        form.adjusts,
    )


def _formula_and_gradient(
    form: Form, gamma: float, logits: Any, labels: Any, weights: Any, upstream: Any
) -> tuple[Any, Any]:
    losses, pull = jax.vjp(lambda z: _formula(form, gamma, z, labels, weights), logits)
    return losses, pull(jnp.broadcast_to(upstream, losses.shape))[0]


# What the primitives compute on platforms without the core's code, and in exports.


def _losses_formula(
    logits: Any, labels: Any, weights: Any, _: Any, *, form: Form, gamma: float
) -> Any:
    return _formula(form, gamma, logits, labels, weights)


def _losses_and_gradient_formula(
    logits: Any, labels: Any, weights: Any, upstream: Any, *, form: Form, gamma: float
) -> Any:
    return _formula_and_gradient(form, gamma, logits, labels, weights, upstream)


def _scaled_rows_formula(values: Any, upstream: Any, applied: Any) -> Any:
    factor = upstream / applied
    scaled = (values.astype(_FLOAT32) * factor[:, None]).astype(values.dtype)
    scaled = jnp.where((factor == 1)[:, None], values, scaled)
    return jnp.where((upstream == 0)[:, None], jnp.zeros_like(scaled), scaled)


def _row_products_formula(a: Any, b: Any, applied: Any) -> Any:
    return jnp.sum(a.astype(_FLOAT32) * b.astype(_FLOAT32), axis=-1) / applied


def _slope_formula(
    direction: Any, logits: Any, labels: Any, weights: Any, *_: Any, form: Form, gamma: float
) -> Any:
    def losses(z: Any) -> Any:
        return _formula(form, gamma, z, labels, weights)

    return jax.jvp(losses, (logits,), (direction,))[1]


def _primitive(
    name: str,
    results: Callable[..., Any],
    formula: Callable[..., Any],
    call: Callable[..., Any] | None = None,
    several: bool = False,
) -> Primitive:
    """A primitive that is `call` where the core has code, else the formula."""
    primitive = Primitive(f"cb_keras_{name}")
    primitive.multiple_results = several
    primitive.def_abstract_eval(results)
    lowered = mlir.lower_fun(formula, multiple_results=several)
    mlir.register_lowering(primitive, lowered)
    if call is not None:
        by_core = mlir.lower_fun(call, multiple_results=several)
        private_api.jax_lowered_for_devices(primitive)
        for platform in ("cpu", "cuda"):
            lower = functools.partial(_lower, platform, by_core, lowered)
            mlir.register_lowering(primitive, lower, platform=platform)
    jitted = jax.jit(primitive.bind, static_argnames=("form", "gamma", "stored"))

    @primitive.def_impl
    def run(*args: Any, **params: Any) -> Any:
        with jax.disable_jit(False):  # else it would call itself where nothing is compiled
            return jitted(*args, **params)

    return primitive


def _lower(
    platform: str, by_core: Any, by_formula: Any, context: Any, *args: Any, **params: Any
) -> Any:
    exported = private_api.jax_lowers_for_export(context)
    usable = not exported and platform in jax_calls.register()[0]
    return (by_core if usable else by_formula)(context, *args, **params)


def _row_of(array: Any) -> Any:
    """The type of one float32 number per row of an array `[N, C]`."""
    return array.update(shape=array.shape[:1], dtype=np.dtype("float32"), weak_type=False)


_losses = _primitive(
    "loss",
    lambda logits, *_, **__: _row_of(logits),
    _losses_formula,
    lambda logits, labels, weights, _, form, gamma: jax_calls.losses(
        logits, labels, weights, form, gamma
    ),
)
_losses_and_gradient = _primitive(
    "loss_and_gradient",
    lambda logits, *_, **__: [_row_of(logits), logits],
    _losses_and_gradient_formula,
    jax_calls.losses_and_gradient,
    several=True,
)
_scaled_rows = _primitive(
    "scale_rows", lambda values, *_: values, _scaled_rows_formula, jax_calls.scaled_rows
)
_scale_rows_compiled = _scaled_rows.impl


@_scaled_rows.def_impl
def _scaled_rows_now(values: Any, upstream: Any, applied: Any) -> Any:
    """Eager rows, which could not be scaled in place, are given back where nothing is to scale."""
    if _seen_to_be_equal(upstream, applied):
        return values
    return _scale_rows_compiled(values, upstream, applied)


def _seen_to_be_equal(upstream: Any, applied: Any) -> bool:
    """Whether both are on the CPU, where a look at them waits for no device, and the same."""
    seen = [values_of(jnp.asarray(x)) for x in (upstream, applied)]
    return not any(x is None for x in seen) and bool(np.all(seen[0] == seen[1]))


_row_products = _primitive("row_products", lambda a, *_: _row_of(a), _row_products_formula)
_slope = _primitive("slope", lambda direction, *_, **__: _row_of(direction), _slope_formula)


# Derivatives.


def _is_zero(tangent: Any) -> bool:
    return type(tangent) is ad.Zero


def _sum(tangents: list[Any], like: Any) -> Any:
    """Sum of tangents, the zero one for none."""
    if not tangents:
        return ad.Zero.from_primal_value(like)
    return functools.reduce(jnp.add, tangents)


def _by_formula(function: Callable[..., Any], primals: Any, tangents: Any) -> Any:
    """The derivative of a function of arrays in a direction, some of whose parts may be zero."""
    moving = [i for i, tangent in enumerate(tangents) if not _is_zero(tangent)]

    def of_moving(*values: Any) -> Any:
        arguments = list(primals)
        for i, value in zip(moving, values, strict=True):
            arguments[i] = value
        return function(*arguments)

    given = tuple(primals[i] for i in moving), tuple(tangents[i] for i in moving)
    return jax.jvp(of_moving, *given)[1]


def _losses_jvp(primals: Any, tangents: Any, *, form: Form, gamma: float) -> tuple[Any, Any]:
    logits, labels, weights, expected = primals
    direction, *others = tangents[:3]
    found = []
    if _is_zero(direction) or logits.dtype == jnp.float16:
        # float16 can't hold a gradient before the loss scale is in it: its gradient is computed
        # in the backward pass, where the upstream gradient is known.
        value = _losses.bind(*primals, form=form, gamma=gamma)
        if not _is_zero(direction):
            found.append(_slope.bind(direction, logits, labels, weights, form=form, gamma=gamma))
    else:
        expected = jax.lax.stop_gradient(expected)
        value, gradient = _losses_and_gradient.bind(
            logits, labels, weights, expected, form=form, gamma=gamma
        )
        if logits.dtype == jnp.float32:
            found.append(_row_products.bind(gradient, direction, expected))
        else:  # rounded once already: other upstream gradients need another gradient
            given = (direction, logits, labels, weights, gradient, expected)
            found.append(_slope.bind(*given, form=form, gamma=gamma))
    if not all(map(_is_zero, others)):
        function = functools.partial(_formula, form, gamma, logits)
        found.append(_by_formula(function, (labels, weights), others))
    return value, _sum(found, value)


def _losses_and_gradient_jvp(primals: Any, tangents: Any, *, form: Form, gamma: float) -> Any:
    function = functools.partial(_formula_and_gradient, form, gamma)
    values = _losses_and_gradient.bind(*primals, form=form, gamma=gamma)
    return values, list(_by_formula(function, primals, tangents))


def _scaled_rows_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    values, upstream, applied = primals
    by_values, by_upstream, _ = tangents
    scaled, found = _scaled_rows.bind(*primals), []
    if not _is_zero(by_values):
        found.append(_scaled_rows.bind(by_values, upstream, applied))
    if not _is_zero(by_upstream):
        found.append(_scaled_rows.bind(values, by_upstream, applied))
    return scaled, _sum(found, scaled)


def _row_products_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    a, b, applied = primals
    products, found = _row_products.bind(*primals), []
    if not _is_zero(tangents[0]):
        found.append(_row_products.bind(tangents[0], b, applied))
    if not _is_zero(tangents[1]):
        found.append(_row_products.bind(a, tangents[1], applied))
    return products, _sum(found, products)


def _slope_jvp(primals: Any, tangents: Any, *, form: Form, gamma: float) -> tuple[Any, Any]:
    function = functools.partial(_slope_formula, form=form, gamma=gamma)
    slope = _slope.bind(*primals, form=form, gamma=gamma)
    return slope, _by_formula(function, primals[:4], tangents[:4])


def _scaled_rows_transpose(by_scaled: Any, values: Any, upstream: Any, applied: Any) -> Any:
    if ad.is_undefined_primal(values):
        if _is_zero(by_scaled):
            return [ad.Zero(values.aval), None, None]
        return [_scaled_rows.bind(by_scaled, upstream, applied), None, None]
    if _is_zero(by_scaled):
        return [None, ad.Zero(upstream.aval), None]
    return [None, _row_products.bind(values, by_scaled, applied), None]


def _row_products_transpose(by_products: Any, a: Any, b: Any, applied: Any) -> Any:
    unknown, known = (a, b) if ad.is_undefined_primal(a) else (b, a)
    if _is_zero(by_products):
        found = ad.Zero(unknown.aval)
    else:
        rows = known.astype(unknown.aval.dtype)
        found = _scaled_rows.bind(rows, by_products, applied)
    return [found, None, None] if unknown is a else [None, found, None]


def _slope_transpose(
    upstream: Any, direction: Any, *residuals: Any, form: Form, gamma: float
) -> Any:
    *_, gradient, expected = residuals
    if _is_zero(upstream):
        found = ad.Zero(direction.aval)
    elif len(residuals) > 3 and _seen_to_be_equal(upstream, expected):
        found = gradient
    else:
        found = _gradient_for(upstream, *residuals, form=form, gamma=gamma)
    return [found, *[None] * len(residuals)]


@functools.partial(jax.jit, static_argnames=("form", "gamma"))
def _gradient_for(
    upstream: Any, logits: Any, labels: Any, weights: Any, *stored: Any, form: Form, gamma: float
) -> Any:
    """The gradient by 16-bit logits; `stored` is one, and the upstream gradient it is for."""

    def computed() -> Any:
        given = (logits, labels, weights, upstream)
        return _losses_and_gradient.bind(*given, form=form, gamma=gamma)[1]

    if not stored:
        return computed()
    gradient, applied = stored
    return jax.lax.cond(
        jnp.all(upstream == applied),
        lambda: _scaled_rows.bind(gradient, upstream, jnp.broadcast_to(applied, upstream.shape)),
        computed,
    )


ad.primitive_jvps[_losses] = _losses_jvp
ad.primitive_jvps[_losses_and_gradient] = _losses_and_gradient_jvp
ad.primitive_jvps[_scaled_rows] = _scaled_rows_jvp
ad.primitive_jvps[_row_products] = _row_products_jvp
ad.primitive_jvps[_slope] = _slope_jvp
ad.primitive_transposes[_scaled_rows] = _scaled_rows_transpose
ad.primitive_transposes[_row_products] = _row_products_transpose
ad.primitive_transposes[_slope] = _slope_transpose


# jax.vmap: a batch of problems is one problem with more rows.


def _batch(primitive: Primitive, shared: int | None = None) -> None:
    """Tells JAX how to batch a primitive; `shared` is the position of the class weights."""

    def rule(args: Any, axes: Any, **params: Any) -> Any:
        moved = [
            x if axis is None else jnp.moveaxis(x, axis, 0)
            for x, axis in zip(args, axes, strict=True)
        ]
        batched = [axis is not None for axis in axes]
        function = functools.partial(primitive.bind, **params)
        if shared is not None and batched[shared]:
            found = _one_after_another(function, moved, batched)
        else:
            found = _as_rows(function, moved, batched, shared)
        return found, ([0] * len(found) if primitive.multiple_results else 0)

    batching.primitive_batchers[primitive] = rule


def _as_rows(
    function: Callable[..., Any], args: list[Any], batched: list[bool], shared: int | None
) -> Any:
    """Results `[B, N, ...]` of a function of rows; arguments `[B, ...]` where `batched`."""
    size = next(x.shape[0] for x, has in zip(args, batched, strict=True) if has)
    rows = args[0].shape[1 if batched[0] else 0]

    def merged(x: Any, has: bool) -> Any:
        if x.ndim == has:  # one number for all rows of a problem
            return jnp.repeat(x, rows) if has else x
        x = x if has else jnp.broadcast_to(x, (size, *x.shape))
        return x.reshape(size * rows, *x.shape[2:])

    found = function(
        *(
            x if i == shared else merged(x, has)
            for i, (x, has) in enumerate(zip(args, batched, strict=True))
        )
    )
    return jax.tree.map(lambda x: x.reshape(size, rows, *x.shape[1:]), found)


def _one_after_another(function: Callable[..., Any], args: list[Any], batched: list[bool]) -> Any:
    """The same where each problem has class weights of its own."""

    def one(mapped: list[Any]) -> Any:
        mapped = list(mapped)
        return function(
            *(mapped.pop(0) if has else x for x, has in zip(args, batched, strict=True))
        )

    return jax.lax.map(one, [x for x, has in zip(args, batched, strict=True) if has])


_batch(_losses, shared=2)
_batch(_losses_and_gradient, shared=2)
_batch(_scaled_rows)
_batch(_row_products)
_batch(_slope, shared=3)
