"""What all tests share: the global dtype policy and the random seed are put back after each."""

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def _global_state():
    policy = keras.config.dtype_policy()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
