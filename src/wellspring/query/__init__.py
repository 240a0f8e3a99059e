"""SQL over snapshots, and the files under them."""
