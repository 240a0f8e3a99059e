"""TODO-PACKAGE wellspring/models/evaluation."""
