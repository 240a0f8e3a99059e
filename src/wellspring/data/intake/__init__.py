"""Intake of a drop: encrypted originals, row validation, tokenization and row counts."""
