"""Each promise that is a number, measured: one file per promise."""
