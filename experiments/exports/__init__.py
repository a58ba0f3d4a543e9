"""What leaves a training run: its exports, and the figures that are measured on them."""
