"""The Iceberg adapter of the lake, through pyiceberg: any of its catalogs, opened by a function of its kind."""
