"""The installed Keras and TensorFlow have the private names that the library uses.

A test that fails here says which name changed with the new version; the rest of the suite says
what goes wrong then.
"""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from cb_keras import private_api
from tests.cb_keras.gradients import BACKEND

only_jax = pytest.mark.skipif(BACKEND != "jax", reason="JAX's own API")
only_torch = pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's own API")
only_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's own API")


def still_there(what, version):
    """Turns the error of a name that is gone into a sentence."""

    def decorate(test):
        @functools.wraps(test)
        def checked(*args, **kwargs):
            try:
                test(*args, **kwargs)
            except (AttributeError, ImportError) as error:
                pytest.fail(f"{what} is not in version {version()} any more: {error}")

        return checked

    return decorate


def keras_version():
    return f"{keras.__version__} of Keras"


def jax_version():
    import jax

    return f"{jax.__version__} of JAX"


def tensorflow_version():
    import tensorflow as tf

    return f"{tf.__version__} of TensorFlow"


def torch_version():
    import torch

    return f"{torch.__version__} of PyTorch"


@still_there("keras.src.losses.loss.reduce_weighted_values", keras_version)
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "sum", None])
def test_losses_are_reduced_as_keras_does(reduction):
    losses = ops.convert_to_tensor([1.0, 2.0, 6.0])
    found = ops.convert_to_numpy(private_api.reduced_losses(losses, reduction, "float32"))
    expected = {"sum_over_batch_size": 3.0, "sum": 9.0, None: [1.0, 2.0, 6.0]}[reduction]
    np.testing.assert_allclose(found, expected)


@still_there("keras.src.backend.get_keras_mask or set_keras_mask", keras_version)
def test_a_mask_is_found_where_keras_layers_leave_it_and_set_where_keras_losses_look():
    masked = keras.layers.Masking()(np.array([[[1.0]], [[0.0]]]))
    assert np.array_equal(private_api.keras_mask(masked), [[True], [False]])
    assert private_api.keras_mask(ops.ones((2, 1))) is None
    y_pred = ops.convert_to_tensor([[1.0], [5.0]])
    private_api.set_keras_mask(y_pred, ops.convert_to_tensor([True, False]))
    value = keras.losses.MeanSquaredError()(ops.zeros((2, 1)), y_pred)
    assert abs(float(value) - 1) < 1e-6, "keras.losses.Loss does not read the mask that was set"


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_keras_leaves_the_logits_on_the_result_of_an_activation(activation):
    logits = ops.convert_to_tensor([[1.0, 2.0]])
    result = keras.layers.Activation(activation)(logits)
    found = private_api.keras_logits(result)
    assert found is not None, (
        f"keras.layers.Activation no longer sets `_keras_logits` ({activation})"
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(found), [[1.0, 2.0]])
    assert private_api.keras_logits(ops.ones((1, 2))) is None


@still_there("keras.src.backend.in_stateless_scope", keras_version)
def test_a_stateless_scope_is_seen():
    assert not private_api.in_stateless_scope()
    with keras.StatelessScope():
        assert private_api.in_stateless_scope()


@pytest.mark.parametrize("direction", ["up", "down"])
def test_early_stopping_reads_the_direction_of_a_metric(direction):
    metric = keras.metrics.MeanSquaredError(name="figure")
    private_api.set_metric_direction(metric, direction)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[metric])
    stop = keras.callbacks.EarlyStopping(monitor="figure")
    model.fit(np.ones((2, 1)), np.ones((2, 1)), verbose=0, callbacks=[stop])
    better = {"up": ops.greater, "down": ops.less}[direction]
    assert stop.monitor_op is better, "EarlyStopping no longer reads `_direction`"


@still_there(
    "`m` and `name` of keras.src.trainers.compile_utils.CompileMetrics.result", keras_version
)
def test_a_metric_learns_the_name_that_logs_have_for_it():
    class Name(keras.metrics.Metric):
        def update_state(self, y_true, y_pred, sample_weight=None):
            pass

        def result(self):
            names.append(private_api.name_in_logs(self))
            return 0.0

    names = []
    inputs = keras.Input((2,))
    model = keras.Model(inputs, [keras.layers.Dense(1, name=name)(inputs) for name in "ab"])
    both = {
        "metrics": [[Name(name="n"), Name(name="n")], [Name(name="n")]],
        "weighted_metrics": [[Name(name="n")], []],
    }
    model.compile("sgd", ["mse", "mse"], **both)
    ones = np.ones((3, 1))
    logs = model.evaluate(np.ones((3, 2)), [ones, ones], verbose=0, return_dict=True)
    assert set(names) == {"a_n", "a_n_1", "b_n", "a_weighted_n"}
    assert set(names) <= set(logs)
    Name(name="alone").result()
    assert names[-1] == "alone"


@still_there("keras.optimizers.Optimizer._get_variable_index", keras_version)
def test_an_optimizer_knows_the_position_of_each_variable():
    variables = [keras.Variable(np.zeros(n)) for n in (1, 2, 3)]
    optimizer = keras.optimizers.SGD(momentum=0.9)
    optimizer.build(variables)
    assert [private_api.variable_index(optimizer, v) for v in variables] == [0, 1, 2]
    assert tuple(optimizer.momentums[2].shape) == (3,)


@pytest.mark.skipif(BACKEND != "jax", reason="JAX's own API")
def test_jax_has_64_bits_in_their_context_alone():
    assert ops.ones((), "float64").dtype == "float32"
    with private_api.jax_float64():
        assert ops.ones((), "float64").dtype == "float64"
    assert ops.ones((), "float64").dtype == "float32"


@only_jax
@still_there("lowering_parameters.for_export or jax._src.dispatch", jax_version)
def test_the_lowering_of_a_primitive_sees_the_devices_and_whether_it_is_for_an_export():
    import jax
    import jax.export
    from jax.extend.core import Primitive
    from jax.interpreters import mlir

    seen = []

    def lower(context, x):
        devices = context.module_context.axis_context.device_assignment
        seen.append((private_api.jax_lowers_for_export(context), devices is not None))
        return mlir.lower_fun(lambda x: x + 1, multiple_results=False)(context, x)

    primitive = Primitive("a_test_of_cb_keras")
    primitive.def_abstract_eval(lambda x: x)
    mlir.register_lowering(primitive, lower)
    private_api.jax_lowered_for_devices(primitive)
    function = jax.jit(primitive.bind)
    function(ops.ones(2))
    jax.export.export(function)(ops.ones(2))
    assert seen[0] == (False, True)
    assert seen[-1][0]


@only_tensorflow
@still_there("tensorflow.python.eager.record.could_possibly_record", tensorflow_version)
def test_a_tape_and_an_accumulator_are_seen_to_record():
    import tensorflow as tf

    assert not private_api.could_record()
    with tf.GradientTape():
        assert private_api.could_record()
    x = tf.constant(1.0)
    with tf.autodiff.ForwardAccumulator(x, tf.constant(1.0)):
        assert private_api.could_record()
    assert not private_api.could_record()


@only_tensorflow
@still_there("tensorflow.python.eager.record.record_operation", tensorflow_version)
def test_a_gradient_of_ones_own_is_taken_in_eager_code_and_in_graphs_and_differentiated_again():
    import tensorflow as tf

    def twice_the_slope_of_a_cube(x):
        return x**3, lambda upstream: (upstream * 6 * x**2,)

    def derivatives(x):
        with tf.GradientTape() as outer:
            outer.watch(x)
            with tf.GradientTape() as inner:
                inner.watch(x)
                value = private_api.with_custom_gradient(twice_the_slope_of_a_cube, x)
            slope = inner.gradient(value, x)
        return value, slope, outer.gradient(slope, x)

    for run in (derivatives, tf.function(derivatives)):
        assert [float(y) for y in run(tf.constant(2.0))] == [8, 24, 24]


@only_tensorflow
@still_there("tensorflow.python.ops.gradients_util.PossibleTapeGradientTypes", tensorflow_version)
def test_what_derivatives_may_be_asked_for_is_0_1_or_2():
    import tensorflow as tf

    x, other = tf.constant(1.0), tf.constant(2.0)
    assert private_api.possible_gradient_types([x, other]) == 0
    with tf.GradientTape() as tape:
        tape.watch(x)
        assert private_api.possible_gradient_types([other]) == 0
        assert private_api.possible_gradient_types([x, other]) == 1
        with tf.GradientTape() as inner:
            inner.watch(x)
            assert private_api.possible_gradient_types([x]) == 2
    with tf.autodiff.ForwardAccumulator(x, tf.constant(1.0)):
        assert private_api.possible_gradient_types([x]) > 0


@only_tensorflow
@still_there("tensorflow.python.saved_model.save_context", tensorflow_version)
def test_the_writing_of_a_saved_model_is_seen(tmp_path):
    import tensorflow as tf

    seen = []

    class Traced(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((), "float32")])
        def f(self, x):
            seen.append(private_api.in_save_context())
            return x

    Traced().f(1.0)
    assert seen == [False]
    tf.saved_model.save(Traced(), tmp_path)
    assert seen[-1] is True


@only_tensorflow
@still_there("`_jit_compile` of a tf.function", tensorflow_version)
def test_a_function_says_whether_xla_compiles_it():
    import tensorflow as tf

    for jit_compile in (True, False, None):
        function = tf.function(lambda x: x, jit_compile=jit_compile)
        assert isinstance(function, private_api.function_type())
        assert private_api.compiled_by_xla(function) is bool(jit_compile)
    assert not isinstance(lambda x: x, private_api.function_type())


@only_tensorflow
def test_keras_exports_from_the_modules_of_which_the_library_knows(tmp_path):
    import inspect

    modules = set()

    @keras.saving.register_keras_serializable(package="test_private_api")
    class Callers(keras.layers.Layer):
        def call(self, inputs):
            modules.update(str(f.frame.f_globals.get("__name__")) for f in inspect.stack(0))
            return inputs

    model = keras.Sequential([keras.Input((1,)), Callers()])
    modules.clear()
    model.export(tmp_path / "exported", verbose=False)
    known = private_api.KERAS_EXPORT_MODULES
    assert any(module.startswith(known) for module in modules), f"Keras exports without {known}"


@only_torch
@still_there("get_device of keras.src.backend.torch.core", keras_version)
def test_keras_says_on_which_device_it_puts_tensors_of_pytorch():
    assert private_api.torch_device() == str(ops.ones(1).device)
    with keras.device("meta"):
        assert private_api.torch_device() == "meta"


@only_torch
@still_there("the marks that Keras' layers leave on tensors of PyTorch", keras_version)
def test_marks_of_keras_on_tensors_of_pytorch_are_seen():
    plain = ops.ones((1, 2))
    assert not private_api.marked_by_keras(plain)
    assert private_api.marked_by_keras(keras.layers.Activation("softmax")(plain))
    assert private_api.marked_by_keras(keras.layers.Masking()(ops.ones((1, 2, 1))))
    private_api.set_keras_mask(plain, None)
    assert not private_api.marked_by_keras(plain)


@only_torch
@still_there("is_legacy_batchedtensor of torch._C._functorch", torch_version)
def test_many_gradients_of_pytorch_at_once_are_seen():
    import torch

    seen = []
    x = torch.ones(2, requires_grad=True)
    y = 2 * x
    y.register_hook(lambda upstream: seen.append(private_api.torch_batched_gradients(upstream)))
    torch.autograd.grad(y, x, grad_outputs=torch.eye(2), is_grads_batched=True)
    torch.autograd.grad(2 * x, x, grad_outputs=torch.ones(2))
    assert seen == [True]
    assert not private_api.torch_batched_gradients(x)


@only_torch
@still_there("what says that operations of PyTorch are followed", torch_version)
def test_whoever_follows_operations_of_pytorch_is_seen():
    import torch
    from torch.autograd import forward_ad
    from torch.utils.flop_counter import FlopCounterMode

    seen = []

    def look(x):
        seen.append(private_api.torch_is_followed())
        return x.sum()

    x = torch.ones(3)
    look(x)
    torch.func.grad(look)(x)
    with FlopCounterMode(display=False):
        look(x)
    with forward_ad.dual_level():
        look(x)
    torch.jit.trace(look, (x,), check_trace=False)
    look(x)
    assert seen == [False, True, True, True, True, False]


@only_torch
@still_there("what says that torch.func or forward mode is at work", torch_version)
def test_transforms_and_forward_mode_of_pytorch_are_seen():
    import torch
    from torch.autograd import forward_ad

    seen = []

    def look(x):
        seen.append((private_api.torch_transforms(), private_api.torch_forward_mode()))
        return (x * x).sum()

    x = torch.ones(3)
    look(x)
    torch.func.grad(look)(x)
    torch.func.vmap(look)(x)
    torch.func.jvp(look, (x,), (x,))
    torch.func.hessian(look)(x)
    with forward_ad.dual_level():
        look(x)
    look(x)
    outside, reverse, forward = (False, False), (True, False), (True, True)
    assert seen == [outside, reverse, reverse, forward, forward, (False, True), outside]


@only_torch
@still_there("what says that operations of PyTorch are dispatched to others", torch_version)
def test_modes_and_tensors_that_see_every_operation_are_seen():
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils.flop_counter import FlopCounterMode

    class Named(torch.Tensor):
        """A tensor that computes as others do."""

    x = torch.ones(3)
    assert not private_api.torch_dispatches(x, torch.nn.Parameter(x), x.as_subclass(Named))
    with FlopCounterMode(display=False):
        assert private_api.torch_dispatches(x)
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(x)
    assert private_api.torch_dispatches(x, fake)
