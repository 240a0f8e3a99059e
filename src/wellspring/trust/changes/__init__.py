"""Releases of changes: their records, what is live of each kind and name, and the act that makes one live."""
