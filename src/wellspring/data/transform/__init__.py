"""TODO-PACKAGE wellspring/data/transform."""
