"""A kit that rehearses in a temporary folder."""

import os
import time

import pytest

from benchmarks.gpu.stages import Kit


@pytest.fixture
def make_kit(tmp_path):
    """Function that makes a kit without a GPU, with a minute to go."""

    def make(**own):
        return Kit(
            output=tmp_path,
            work=tmp_path,
            device="cpu",
            small=True,
            data=None,
            deadline=time.monotonic() + 60.0,
            environment=dict(os.environ),
            **own,
        )

    return make
