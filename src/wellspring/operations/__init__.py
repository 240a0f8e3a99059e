"""Record what goes wrong in operation, and what was done about it."""
