"""The detector packs that wellspring brings. Each is registered as an entry point of `wellspring.detector_packs`."""
