"""Feature views: definitions, point-in-time join, materialization and freshness."""
