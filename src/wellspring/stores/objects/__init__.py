"""Store bytes by content hash (ContentStore) and by name (NamedBlobStore)."""
