"""Estimators and the hyperparameter search."""
