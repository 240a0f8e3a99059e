"""The offline verifier. Read `canonical`, `merkle`, `notes`, `entries`, `story` and `telling` (entries to words),
`pack` (the check), `chain` (what an answer rests on), `people`, `releases`, `approvals`, `promise`, `answer`, `cli`."""

from wellspring_verify.pack import PackFinding, VerificationReport, verify

__all__ = ["PackFinding", "VerificationReport", "verify"]
