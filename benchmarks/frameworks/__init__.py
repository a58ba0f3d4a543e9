"""The losses on every framework, side by side: python -m benchmarks.frameworks."""
