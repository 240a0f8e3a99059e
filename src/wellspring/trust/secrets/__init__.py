"""Read secrets by name at start; they are never stored in a file."""
