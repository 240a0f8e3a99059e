"""The release store, promotion and rollback, and the release history from the ledger."""
