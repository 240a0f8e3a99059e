"""TODO-PACKAGE wellspring/stores/online."""
