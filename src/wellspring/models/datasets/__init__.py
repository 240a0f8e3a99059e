"""Training sets: point-in-time features with labels, split by time."""
