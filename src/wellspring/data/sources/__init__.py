"""Sources of drops."""
