"""Data contracts: the ODCS reader, typed columns, casting, and inference from a file."""
