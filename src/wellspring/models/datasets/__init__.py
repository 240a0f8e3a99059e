"""Training sets: point-in-time features joined with labels, split by time."""
