"""What all tests share."""

# After so long a process is taken for hung. No test may fail because the machine is slow or busy,
# so this is far more than any of them needs.
HANG_SECONDS = 1800
