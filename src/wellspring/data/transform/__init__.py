"""The dbt build in a confined process, its source digest, and the leakage audit."""
