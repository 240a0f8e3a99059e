"""TODO-PACKAGE wellspring/data/features."""
