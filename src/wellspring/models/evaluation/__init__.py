"""Metrics, calibration, plots, the model card and the gate."""
