"""TODO-PACKAGE wellspring/api."""
