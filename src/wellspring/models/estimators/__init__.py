"""TODO-PACKAGE wellspring/models/estimators."""
