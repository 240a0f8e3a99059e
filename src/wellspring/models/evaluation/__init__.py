"""Metrics, calibration, the gate, plots and the model card."""
