"""One program a question; each prints a table of ratios, and --json=FILE keeps the figures."""
