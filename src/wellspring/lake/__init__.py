"""The Iceberg lake: catalog, staging, write audit, editions, built tables and maintenance."""
