"""How the property tests run, and the types that they draw from."""

from hypothesis import HealthCheck, settings

from tests.cb_keras.gradients import BACKEND

FLOATS = ["float16", "bfloat16", "float32", "float64"]


def properties(max_examples):
    """Settings of a test; JAX, which compiles every operation for every shape, runs a twentieth."""
    return settings(
        max_examples=max_examples if BACKEND != "jax" else max(5, max_examples // 20),
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
