"""The offline verifier. Read `canonical`, `merkle`, `notes`, `story` (entries to words), `pack` (the check), `cli`."""

from wellspring_verify.pack import Finding, Report, verify

__all__ = ["Finding", "Report", "verify"]
