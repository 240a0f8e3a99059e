"""TODO-PACKAGE wellspring/models/training."""
