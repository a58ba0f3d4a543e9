"""Many runs: the cells of a table, where they run, and what is written about them."""
