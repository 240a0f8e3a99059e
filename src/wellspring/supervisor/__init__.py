"""TODO-PACKAGE wellspring/supervisor."""
