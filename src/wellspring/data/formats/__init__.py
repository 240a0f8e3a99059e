"""Bytes of a drop to an Arrow table of text, losing nothing."""
