"""Gradient boosting with LightGBM, and the search for its hyperparameters."""
