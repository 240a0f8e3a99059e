"""TODO-PACKAGE wellspring/models/tracking."""
