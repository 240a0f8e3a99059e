"""TODO-PACKAGE wellspring/models/releases."""
