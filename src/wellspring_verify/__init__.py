"""The offline verifier.

Read the modules in this order: `canonical`, `merkle`, `notes`, `entries`; `story` and `summary` (entries to text);
`pack` (the check); `chain` (the evidence behind a prediction), `users`, `releases`, `approvals`; `answer_signature`,
`prediction`; `cli`.
"""

from wellspring_verify.pack import PackFinding, VerificationReport, verify_pack

__all__ = ["PackFinding", "VerificationReport", "verify_pack"]
