"""The DuckDB adapter of the query engine: SQL in memory, and dbt on an in-memory database."""
