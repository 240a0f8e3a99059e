"""Keys that wrap and sign, and never leave their server."""
