"""TODO-PACKAGE wellspring/data/contracts."""
