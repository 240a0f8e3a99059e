"""The online store: newest row of each key, in Feast's row encoding."""
