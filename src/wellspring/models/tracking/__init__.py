"""The MLflow registry adapter."""
