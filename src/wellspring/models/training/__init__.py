"""Training runs and their reproduction."""
