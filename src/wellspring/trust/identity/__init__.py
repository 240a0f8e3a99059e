"""Log processes and users in to OpenBao."""
