"""Alternative implementations for comparison."""
