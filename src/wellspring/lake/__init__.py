"""TODO-PACKAGE wellspring/lake."""
