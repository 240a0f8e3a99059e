"""scikit-learn pipelines, stored with skops."""
