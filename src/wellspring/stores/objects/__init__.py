"""Bytes by content (Objects) and bytes by name (Paths)."""
