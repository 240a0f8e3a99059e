"""TODO-PACKAGE wellspring/runtime."""
