"""Wrap data keys and sign with keys that never leave the key server."""
