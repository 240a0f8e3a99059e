"""Record steps as ledger entries, Prometheus metrics and OpenLineage events."""
