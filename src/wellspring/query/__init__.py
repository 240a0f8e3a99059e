"""The query engine port and its adapters."""
