"""TODO-PACKAGE wellspring/data/quality."""
