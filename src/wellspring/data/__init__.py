"""From a drop to features."""
