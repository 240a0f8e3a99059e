"""The kinds of changes that are released: each is one file, and one line in `registry`."""
