"""experiments.decision_boundary: the problem in two dimensions, its trainings and the picture."""
