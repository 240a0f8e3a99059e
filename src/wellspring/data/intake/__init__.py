"""TODO-PACKAGE wellspring/data/intake."""
