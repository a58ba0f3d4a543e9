"""The fused op on JAX: values, gradients and higher derivatives, in every way of calling it."""

import jax
import jax.export
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from cb_keras import fused
from tests.cb_keras.cases import CLASSES, IDS_OF_INPUTS, INPUTS, LOSSES
from tests.cb_keras.fused.jax_cases import (
    GAMMA,
    KINDS,
    LABELS,
    LOGITS,
    ROWS,
    UPSTREAM,
    WEIGHTS,
    arguments,
    assert_close,
    by_formula,
    by_op,
    expected,
    targets_in,
)

pytestmark = pytest.mark.usefixtures("fused_op")

FORMS = [(kind, form) for kind in KINDS for form in ("ids", "soft")]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        pytest.param(*case, marks=[] if i % 3 == 0 else pytest.mark.slow)
        for i, case in enumerate(FORMS)
    ],
)
def test_losses_and_gradients_are_those_of_the_papers_equations(kind, form):
    losses, slopes = expected(kind, form)
    logits, weights, labels = arguments(form)
    assert_close(fused.crossentropy(kind, labels, logits, weights, GAMMA), losses)
    gradient = jax.jit(jax.grad(by_op(kind)))
    assert_close(gradient(logits, weights, labels), slopes)
    assert targets_in(jax.grad(by_op(kind)), logits, weights, labels) == {
        *("cb_keras_loss_and_gradient", "cb_keras_scale_rows")
    }


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_stay_where_nothing_is_to_be_compiled(kind):
    losses, slopes = expected(kind, "ids")
    logits, weights, labels = arguments("ids")
    with jax.disable_jit():
        assert_close(by_op(kind)(logits, weights, labels), losses @ UPSTREAM)
        assert_close(jax.grad(by_op(kind))(logits, weights, labels), slopes)


def test_eager_gradients_are_those_of_compiled_ones_whether_upstream_is_the_expected_or_not():
    logits, weights, labels = arguments("ids")
    for seen in (1.0, 0.25):
        losses, pull = jax.vjp(
            lambda z, seen=seen: fused.crossentropy("focal", labels, z, weights, GAMMA, seen),
            logits,
        )
        np.testing.assert_allclose(losses, expected("focal", "ids")[0], rtol=1e-5)
        slopes = jax.grad(lambda z: fused.crossentropy("focal", labels, z, weights, GAMMA).sum())
        np.testing.assert_allclose(pull(jnp.ones(ROWS))[0], jax.jit(slopes)(logits), rtol=1e-6)
        assert_close(pull(jnp.asarray(UPSTREAM))[0], expected("focal", "ids")[1])


def first(function):
    return jax.grad(function, (0, 1))


def penalty(function):
    """Gradient of a penalty on the gradient, by logits and weights."""

    def squares(logits, weights, labels):
        return jnp.sum(jax.grad(function)(logits, weights, labels) ** 2)

    return jax.grad(squares, (0, 1))


def forward(function):
    def derivative(logits, weights, labels):
        return jax.jvp(
            lambda z, w: function(z, w, labels), (logits, weights), (jnp.cos(logits), weights + 1)
        )

    return derivative


def by_labels(function):
    return jax.grad(lambda z, w, y: jnp.sum(jax.grad(function, 2)(z, w, y) ** 2), (0, 1, 2))


def of_a_function_of_the_loss(function):
    """The upstream gradient depends on the logits too."""
    return jax.hessian(lambda *inputs: function(*inputs) ** 2)


DERIVATIVES = {
    "by logits and weights": (first, [("sigmoid", "ids"), ("softmax_focal", "soft")]),
    "rematerialised": (lambda f: first(jax.checkpoint(f)), [("focal", "ids")]),
    "forward mode": (forward, [("focal", "soft")]),
    "gradient penalty": (penalty, [("softmax", "ids"), ("softmax_focal", "soft")]),
    "Hessian": (jax.hessian, [("softmax_focal", "ids")]),
    "reverse of reverse": (lambda f: jax.jacrev(jax.jacrev(f)), [("focal", "ids")]),
    "forward of forward": (lambda f: jax.jacfwd(jax.jacfwd(f)), [("sigmoid", "ids")]),
    "of a function of the loss": (of_a_function_of_the_loss, [("focal", "ids")]),
    "by soft labels": (by_labels, [("sigmoid", "soft"), ("softmax", "soft")]),
}
QUICK = ("forward mode", "Hessian")
CASES = [(name, *case) for name, (_, cases) in DERIVATIVES.items() for case in cases]


@pytest.mark.parametrize(
    ("name", "kind", "form"),
    [pytest.param(*case, marks=[] if case[0] in QUICK else pytest.mark.slow) for case in CASES],
)
def test_derivatives_of_every_order_are_those_of_the_formula(name, kind, form):
    derivative, given = DERIVATIVES[name][0], arguments(form)
    found, right = (jax.jit(derivative(f(kind)))(*given) for f in (by_op, by_formula))
    assert_close(found, right)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_derivatives_of_16_bit_logits_are_rounded_once(dtype):
    logits, weights, labels = arguments("ids", dtype)
    exact = logits.astype("float32")
    right = jax.jit(jax.grad(by_formula("softmax")))(exact, weights, labels)
    bound = {"bfloat16": 2**-8, "float16": 2**-11}[dtype] + 1e-5
    for seen in (0.25, 1.0):
        found = jax.jit(jax.grad(by_op("softmax", seen)))(logits, weights, labels)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.astype("float32"), right, rtol=bound, atol=1e-7)
    second = [jax.jit(jax.hessian(f("softmax"))) for f in (by_op, by_formula)]
    found, right = second[0](logits, weights, labels), second[1](exact, weights, labels)
    assert_close(found, right, 0.03)


@pytest.mark.parametrize("seen", [1.0, pytest.param(0.37, marks=pytest.mark.slow)])
def test_a_bfloat16_gradient_is_rounded_once_whether_it_was_expected_or_not(seen):
    logits, weights, labels = arguments("ids", "bfloat16")

    def total(z):
        return jnp.sum(fused.crossentropy("focal", labels, z, weights, GAMMA, seen))

    found = jax.jit(jax.grad(total))(logits)
    right = jax.jit(jax.grad(total))(logits.astype("float32"))
    assert found.dtype == "bfloat16"
    np.testing.assert_allclose(found.astype("float32"), right, rtol=2**-8 + 1e-5, atol=1e-37)


@pytest.mark.parametrize("mapped", ["all", pytest.param("logits", marks=pytest.mark.slow)])
def test_a_batch_of_problems_is_mapped_with_common_and_with_own_class_weights(mapped):
    logits, weights, labels = arguments("ids")
    axes = (0, 0, 0) if mapped == "all" else (0, None, None)
    batch = [jnp.stack([x, jnp.roll(x, 1, 0), x[::-1]]) for x in (logits, weights, labels)]
    given = [x if axis == 0 else x[0] for x, axis in zip(batch, axes, strict=True)]
    found, right = (
        jax.jit(jax.vmap(jax.value_and_grad(f("focal"), (0, 1)), axes))(*given)
        for f in (by_op, by_formula)
    )
    assert_close(found, right)
    calls = targets_in(jax.vmap(by_op("focal"), axes), *given)
    assert calls == {"cb_keras_loss"}, calls


def test_each_problem_of_a_batch_may_expect_another_upstream_gradient():
    logits, weights, labels = arguments("ids")
    batch, seen = jnp.stack([logits, -logits]), jnp.asarray([0.5, 3.0])
    found = jax.jit(jax.vmap(lambda z, e: jax.grad(by_op("focal", e))(z, weights, labels)))
    right = jax.jit(jax.vmap(lambda z: jax.grad(by_op("focal"))(z, weights, labels)))
    assert_close(found(batch, seen), right(batch))


@pytest.mark.slow
def test_derivatives_of_mapped_losses_and_maps_of_derivatives_are_those_of_the_formula():
    logits, weights, labels = arguments("soft", "bfloat16")
    batch = jnp.stack([logits, -logits])

    def total(function):
        return lambda z: jnp.sum(jax.vmap(lambda z: function("softmax")(z, weights, labels))(z))

    exact = batch.astype("float32")
    found, right = jax.grad(total(by_op))(batch), jax.grad(total(by_formula))(exact)
    assert_close(found.astype("float32"), right, 0.01)
    found, right = (
        jax.jit(jax.vmap(jax.hessian(lambda z, f=f: f("focal")(z, weights, labels))))(exact)
        for f in (by_op, by_formula)
    )
    assert_close(found, right)


def test_a_scan_over_steps_trains_as_the_formula_does():
    logits, weights, labels = arguments("ids")

    def train(function):
        def step(z, _):
            value, slope = jax.value_and_grad(function)(z, weights, labels)
            return z - 0.01 * slope, value

        return jax.jit(lambda z: jax.lax.scan(step, z, length=5))(logits)

    assert_close(train(by_op("softmax_focal")), train(by_formula("softmax_focal")))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "uint32", "int32", "float32"])
def test_class_ids_of_every_type_are_the_same_classes(dtype):
    labels = jnp.asarray(LABELS["ids"].astype(dtype))[:, None]
    found = fused.crossentropy("softmax", labels, jnp.asarray(LOGITS), WEIGHTS)
    assert_close(found, expected("softmax", "ids")[0])


def test_labels_of_64_bits_are_read_as_they_are():
    with jax.enable_x64(True) if hasattr(jax, "enable_x64") else jax.experimental.enable_x64():
        logits = jnp.asarray(LOGITS)
        for dtype in ("int64", "uint64", "float64"):
            labels = jnp.asarray(LABELS["ids"].astype(dtype))
            assert labels.dtype == dtype
            found = jax.jit(lambda y: fused.crossentropy("focal", y, logits, WEIGHTS, GAMMA))(
                labels
            )
            assert_close(found, expected("focal", "ids")[0])
            far = labels.at[0].set(2**32 + 1)
            assert np.isnan(
                fused.prepared(fused.Form("focal"), far, logits, WEIGHTS, GAMMA, 1.0, sparse=True)[
                    0
                ]
            )


def test_what_is_not_a_class_is_nan_where_values_can_not_be_seen_and_named_where_they_can():
    logits, weights, labels = arguments("ids")
    labels = labels.at[3].set(6)
    losses = jax.jit(lambda y: fused.crossentropy("softmax", y, logits, weights))(labels)
    assert np.flatnonzero(np.isnan(losses)).tolist() == [3]
    eager = (
        lambda: CLASSES["softmax"](class_weights=WEIGHTS, fused=True)(labels, logits),
        lambda: fused.crossentropy("softmax", labels, logits, weights),
    )
    for call in eager:
        with pytest.raises(ValueError, match=r"`y_true` holds 6 at position \[3\]"):
            call()


@pytest.mark.slow
def test_an_ignored_class_has_neither_loss_nor_gradient_and_smoothing_is_that_of_the_formula():
    logits, weights, labels = arguments("ids")
    labels = labels.at[3].set(255)
    logits = logits.at[3].set(jnp.nan)
    options = {"label_smoothing": 0.2, "ignore_class": 255}

    def losses(function, *loss):
        def total(z):
            value = function(*loss, labels, z, weights, **options)
            return value.sum(), value

        return jax.jit(jax.grad(total, has_aux=True))(logits)

    found = losses(fused.crossentropy, "softmax")
    assert_close(found, losses(LOSSES["softmax"]))
    assert found[1][3] == 0
    assert not found[0][3].any()


def test_no_rows_have_no_losses_and_an_empty_gradient():
    logits, weights, labels = (x[:0] if i != 1 else x for i, x in enumerate(arguments("ids")))
    function = jax.value_and_grad(
        lambda z: fused.crossentropy("focal", labels, z, weights, 1.0, fused.mean_upstream(z)).sum()
    )
    for compiled in (jax.jit(function), function):
        value, slope = compiled(logits)
        assert (float(value), slope.shape) == (0.0, (0, 6))


def test_a_segmentation_has_a_loss_per_pixel():
    logits, _, labels = arguments("ids")
    found = fused.crossentropy(
        "focal", labels.reshape(2, 3, 2), logits.reshape(2, 3, 2, 6), WEIGHTS
    )
    assert found.shape == (2, 3, 2)
    assert_close(found.ravel(), expected("sigmoid", "ids")[0])  # which is focal with gamma 0


def test_what_is_exported_calls_no_function_of_the_op():
    logits, weights, labels = arguments("ids")
    gradient = jax.jit(jax.value_and_grad(by_op("focal")))
    right = gradient(logits, weights, labels)
    exported = jax.export.export(gradient)(logits, weights, labels)
    assert "custom_call @cb_keras" not in exported.mlir_module()
    assert "custom_call @cb_keras" in gradient.lower(logits, weights, labels).as_text()
    loaded = jax.export.deserialize(exported.serialize())
    assert_close(loaded.call(logits, weights, labels), right)


def test_a_loss_is_exported_with_batches_of_any_size():
    loss = CLASSES["focal"]([50, 30, 20, 9, 4, 2])
    gradient = jax.jit(jax.value_and_grad(lambda z, labels: loss(labels, z)))
    logits, _, labels = arguments("ids")
    (rows,) = jax.export.symbolic_shape("rows")
    shapes = [
        jax.ShapeDtypeStruct((rows, *array.shape[1:]), array.dtype) for array in (logits, labels)
    ]
    exported = jax.export.export(gradient)(*shapes)
    for number in (len(labels), 5):
        given = logits[:number], labels[:number]
        assert_close(exported.call(*given), gradient(*given))


@pytest.mark.parametrize("run_eagerly", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_fit_with_the_op_goes_as_one_with_keras_ops(run_eagerly):
    histories = []
    for fused_op in (True, False):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
        model.set_weights([np.full((4, 3), 0.1), np.zeros(3)])
        loss = CLASSES["focal"]([50, 30, 20], fused=fused_op)
        model.compile(keras.optimizers.SGD(0.5), loss, run_eagerly=run_eagerly)
        history = model.fit(INPUTS, IDS_OF_INPUTS, batch_size=4, epochs=3, shuffle=False, verbose=0)
        histories.append([history.history["loss"], *model.get_weights()])
    assert histories[0][0][-1] < histories[0][0][0]
    assert_close(*histories)


def test_auto_takes_the_op_and_a_mean_leaves_nothing_to_scale():
    logits, _, labels = arguments("ids")
    loss = CLASSES["softmax"](class_weights=WEIGHTS)
    assert targets_in(lambda z: loss(labels, z), logits) == {"cb_keras_loss"}
    _, pull = jax.vjp(lambda z: loss(labels, z), logits)
    found = pull(jnp.float32(1))[0]
    exact = expected("softmax", "ids")[1][1:] / UPSTREAM[1:, None] / ROWS
    assert_close(found[1:], exact)
    upstream = fused.mean_upstream(logits)
    assert upstream == jax.grad(lambda x: keras.ops.mean(x))(jnp.ones(ROWS))[0]


def test_an_older_runtime_is_not_told_of_handlers_that_would_stop_it(monkeypatch):
    from cb_keras.fused.doors import jax_calls

    monkeypatch.setattr(jax_calls, "_api_version", lambda: (0, 0))
    jax_calls._register.cache_clear()
    try:
        reason = fused.why_not("softmax", "float32")
        assert "its handlers are of XLA's FFI 0.1, this jaxlib takes those of 0.0 to 0.0" in reason
        assert reason in fused.status()
        monkeypatch.setattr(jax_calls, "_api_version", lambda: None)
        jax_calls._register.cache_clear()
        assert "is not known" in fused.why_not("softmax", "float32")
    finally:
        monkeypatch.undo()
        jax_calls._register.cache_clear()
    assert fused.why_not("softmax", "float32") is None
    assert "float64" in fused.why_not("softmax", "float64")
