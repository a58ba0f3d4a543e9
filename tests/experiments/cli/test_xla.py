"""XLA_FLAGS of the programs on JAX."""

import importlib.metadata
import os

import pytest

from experiments.cli import xla

FLAG = "--xla_cpu_experimental_ynn_fusion_type="


@pytest.mark.parametrize(
    ("backend", "version", "given", "expected"),
    [
        ("jax", "0.11.2", "", FLAG),
        ("jax", "0.11.2", "--xla_a=1", f"--xla_a=1 {FLAG}"),
        ("jax", "0.11.2", f"{FLAG}B", f"{FLAG}B"),
        ("jax", "0.10.2", "", ""),  # which ends at a flag that it does not know
        ("tensorflow", "0.11.2", "", ""),
    ],
)
def test_the_broken_fusions_of_one_version_are_turned_off_where_nobody_set_them(
    monkeypatch, backend, version, given, expected
):
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("XLA_FLAGS", given)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    xla.avoid_broken_fusions()
    assert os.environ["XLA_FLAGS"] == expected
