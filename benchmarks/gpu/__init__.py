"""All that is to be measured on a GPU, for a machine that is at hand for minutes."""
