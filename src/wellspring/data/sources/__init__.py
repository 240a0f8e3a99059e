"""Where drops come from."""
