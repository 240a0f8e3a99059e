"""TODO-PACKAGE wellspring/models/spec."""
