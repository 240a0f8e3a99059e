"""Training a candidate, and training a run again."""
