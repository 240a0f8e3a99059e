"""From a drop to features: intake, contracts, sources, formats, transformation and feature views."""
