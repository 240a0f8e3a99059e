"""Store the latest feature row of each entity for serving: the port, its adapters, and Feast's row codec."""
