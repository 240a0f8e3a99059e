"""ONNX models: exported from a scikit-learn pipeline, or trained elsewhere."""
