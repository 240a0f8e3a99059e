"""TODO-PACKAGE wellspring/serving."""
