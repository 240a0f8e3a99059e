"""Model definitions and the artifact that a trained model is stored as."""
