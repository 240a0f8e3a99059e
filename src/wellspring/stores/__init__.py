"""Store bytes (objects) and online feature rows (online)."""
