"""TODO-PACKAGE wellspring/models/datasets."""
