"""What experiments.train is made of: flags, checks, callbacks, the machine."""
