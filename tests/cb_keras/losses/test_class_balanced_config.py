"""Round trips through `get_config`, `keras.losses.serialize` and `.keras` files; low precision."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import cb_keras
from tests.cb_keras import reference
from tests.cb_keras.cases import (
    CLASSES,
    COUNTS,
    IDS,
    LOGITS,
    expected_losses,
    kinds,
    number,
)


def through_config(loss):
    return type(loss).from_config(json.loads(json.dumps(loss.get_config())))


def through_serialize(loss):
    return keras.losses.deserialize(json.loads(json.dumps(keras.losses.serialize(loss))))


def through_file(loss, tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model.compile("sgd", loss)
    model.save(tmp_path / "model.keras")
    return keras.saving.load_model(tmp_path / "model.keras").loss


@pytest.fixture(params=["get_config", "serialize", "keras file"])
def round_trip(request, tmp_path):
    return {
        "get_config": through_config,
        "serialize": through_serialize,
        "keras file": lambda loss: through_file(loss, tmp_path),
    }[request.param]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("softmax", {"class_counts": COUNTS}),
        ("sigmoid", {"class_counts": np.array(COUNTS, "uint16"), "beta": 0.99, "power": 0.5}),
        ("focal", {"class_weights": [0.1, 1.2, 1.7], "gamma": 2.5}),
        (
            "focal",
            {"class_counts": COUNTS, "from_logits": False, "reduction": "sum", "name": "mine"},
        ),
        (
            "softmax",
            {"class_counts": COUNTS, "reduction": None, "dtype": "bfloat16", "fused": False},
        ),
        ("sigmoid", {"class_counts": COUNTS, "dtype": keras.DTypePolicy("mixed_float16")}),
        ("softmax", {"class_weights": [0.1, 1.2, 1.7], "dtype": np.dtype("float32")}),
        ("focal", {"class_counts": COUNTS, "dtype": ops.ones(1).dtype, "beta": np.float32(0.5)}),
        ("sigmoid", {"class_weights": [0.1, 1.2, 1.7], "from_logits": False}),
        ("softmax", {"class_counts": COUNTS, "ignore_class": 255}),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_round_trip_keeps_every_argument(kind, arguments, round_trip):
    loss = CLASSES[kind](**arguments)
    copy = round_trip(loss)
    assert type(copy) is type(loss)
    assert copy.get_config() == loss.get_config()
    assert copy.dtype == loss.dtype
    np.testing.assert_array_equal(number(copy.class_weights), number(loss.class_weights))
    predictions = LOGITS if loss.from_logits else number(ops.softmax(LOGITS))
    np.testing.assert_array_equal(number(copy(IDS, predictions)), number(loss(IDS, predictions)))


@kinds
def test_weights_that_were_assigned_survive_a_round_trip(kind, round_trip):
    for arguments in ({"class_counts": COUNTS, "power": 2.0}, {"class_weights": [1, 1, 1]}):
        loss = CLASSES[kind](**arguments)
        loss.class_weights.assign([0.5, 1.0, 3.0])
        copy = round_trip(loss)
        np.testing.assert_array_equal(number(copy.class_weights), [0.5, 1.0, 3.0])
        again = round_trip(copy)
        np.testing.assert_array_equal(number(again.class_weights), [0.5, 1.0, 3.0])


@kinds
def test_the_config_holds_plain_values_and_the_counts_that_were_given(kind):
    config = CLASSES[kind](np.array(COUNTS), beta=0.9, power=2).get_config()
    assert config["class_counts"] == COUNTS
    assert (config["beta"], config["power"], config["class_weights"]) == (0.9, 2.0, None)


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *(("softmax", "bfloat16"), ("sigmoid", "float16"), ("focal", "mixed_bfloat16")),
        *(("sigmoid", "mixed_float16"), ("softmax", keras.DTypePolicy("mixed_bfloat16"))),
    ],
    ids=str,
)
@pytest.mark.usefixtures("both_ways")
def test_a_low_precision_loss_computes_in_float32(kind, dtype):
    loss = CLASSES[kind](COUNTS, dtype=dtype)
    value = loss(IDS, LOGITS)
    assert loss.dtype == "float32"
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(number(value), expected_losses(kind).mean(), rtol=1e-6)


@kinds
def test_a_float64_loss_computes_in_float64(kind):
    if keras.backend.backend() == "jax":
        pytest.skip("JAX rounds float64 to float32 unless it is enabled for the whole process")
    # Without reduction, which Keras itself does in float32 on PyTorch.
    loss = CLASSES[kind](COUNTS, dtype="float64", reduction=None)
    value = number(loss(IDS, LOGITS))
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, expected_losses(kind), rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "policy"),
    [
        *(("softmax", "mixed_bfloat16"), ("softmax", "float16"), ("sigmoid", "mixed_float16")),
        ("focal", "bfloat16"),
    ],
)
@pytest.mark.usefixtures("both_ways")
def test_a_global_policy_leaves_the_loss_in_float32(kind, policy):
    keras.config.set_dtype_policy(policy)
    loss = CLASSES[kind](COUNTS)
    logits = ops.cast(LOGITS, keras.config.dtype_policy().compute_dtype)  # exact in each of them
    value = loss(IDS, logits)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    np.testing.assert_allclose(number(value), expected_losses(kind).mean(), rtol=1e-6)
    np.testing.assert_array_equal(
        number(loss.class_weights), cb_keras.class_balanced_weights(COUNTS)
    )


@pytest.mark.parametrize(
    ("kind", "dtype", "logits_dtype"),
    [
        ("softmax", None, "float32"),
        ("softmax", "bfloat16", "bfloat16"),
        ("softmax", "mixed_float16", "float16"),
        ("sigmoid", "mixed_float16", "float32"),
        ("focal", None, "bfloat16"),
    ],
)
@pytest.mark.usefixtures("both_ways")
def test_class_8141_of_8142_stays_class_8141(kind, dtype, logits_dtype):
    # iNaturalist 2018 has 8142 classes; bfloat16 rounds 8141 to 8128, float16 to 8140.
    logits = np.zeros((1, 8142))
    logits[0, 8141] = 8.0
    weights = np.linspace(0.5, 1.5, 8142)
    expected = reference.loss(kind, logits, reference.one_hot([8141], 8142), weights[8141])
    loss = CLASSES[kind](class_weights=weights, dtype=dtype)
    for labels in (np.array([8141]), np.array([[8141]], "uint16"), np.array([8141.0], "float32")):
        value = number(loss(labels, ops.cast(logits, logits_dtype)))
        np.testing.assert_allclose(value, expected[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "dtype", "labels_dtype"),
    [("softmax", None, "bfloat16"), ("sigmoid", "bfloat16", "float16"), ("focal", None, "float16")],
)
def test_low_precision_class_ids_are_refused(kind, dtype, labels_dtype):
    with pytest.raises(ValueError, match=f"`y_true` holds class ids as {labels_dtype}"):
        CLASSES[kind](COUNTS, dtype=dtype)(ops.cast(IDS, labels_dtype), LOGITS)


@kinds
def test_low_precision_one_hot_labels_are_fine(kind):
    labels = ops.cast(reference.one_hot(IDS, 3), "bfloat16")
    value = number(CLASSES[kind](COUNTS, dtype="bfloat16")(labels, LOGITS))
    np.testing.assert_allclose(value, expected_losses(kind).mean(), rtol=1e-6)


def test_the_module_that_older_files_name_still_has_the_losses():
    from cb_keras.losses import class_balanced

    config = {"class_counts": COUNTS, "gamma": 0.5}
    older = {
        "module": "cb_keras.losses.class_balanced",
        "class_name": "ClassBalancedFocalCrossentropy",
        "config": config,
        "registered_name": "cb_keras>ClassBalancedFocalCrossentropy",
    }
    loss = keras.losses.deserialize(older)
    assert type(loss) is CLASSES["focal"]
    assert loss.gamma == 0.5
    for kind in ("softmax", "sigmoid", "focal"):
        assert getattr(class_balanced, CLASSES[kind].__name__) is CLASSES[kind]
