"""The experiment tracker and model registry (MLflow)."""
