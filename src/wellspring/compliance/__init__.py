"""TODO-PACKAGE wellspring/compliance."""
