"""Stores the queue of jobs."""
