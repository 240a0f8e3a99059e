"""Secrets by name, read at start, never kept in a file."""
