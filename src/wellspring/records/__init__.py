"""Define the frozen types that packages exchange, and the protocols for the clock and the recorder."""
