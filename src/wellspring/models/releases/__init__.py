"""Releases: proposal to live pointer, rollback, recovery and history."""
