"""Checks over several columns of one row."""
