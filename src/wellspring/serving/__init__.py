"""Serve predictions and features: prediction service, release cache, scorer and replay."""
