"""What others would build, as they would build it."""
