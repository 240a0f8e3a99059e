"""Train models on feature views, evaluate them, and release them after a second person approved them."""
