"""Estimators fit models and predict with them. Each is one file, found by entry point `wellspring.estimators`."""
