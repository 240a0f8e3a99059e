"""Locks resources for one holder at a time, with a growing number for each holder."""
