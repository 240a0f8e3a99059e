"""wellspring: an MLOps platform that records evidence for every step from a vendor's file to a signed prediction.

The public names are in `wellspring.stable`. All other modules are internal (docs/stability.md).
"""
