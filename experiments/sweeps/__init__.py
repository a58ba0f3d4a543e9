"""Many runs: the cells of a table, how and where they run, and what is written about them."""
