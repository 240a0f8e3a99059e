"""Metrics of models with 95 % intervals, calibration, and plots. Pure functions."""
