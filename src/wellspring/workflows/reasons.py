"""Check the reason of a user's act, which the ledger keeps for ever."""

from __future__ import annotations

from wellspring.errors import Refused
from wellspring.project import Project
from wellspring.trust.dlp.registry import load_scanner

MAX_REASON_LENGTH = 200
"""Maximum length of the reason of an act, which is a permanent fact in the ledger."""


def check_reason(project: Project, reason: str) -> None:
    """Raise Refused for a reason that is too long, cannot be shown, or contains personal data."""
    if len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise Refused(
            f"the reason has more than {MAX_REASON_LENGTH} characters, or characters that cannot be shown",
            fix="write one short sentence",
        )
    if load_scanner(project).find_pii(reason):
        raise Refused("the reason contains personal data, and the ledger keeps it for ever", fix="write it without")


def require_reason(project: Project, reason: str) -> None:
    """Raise Refused for an empty reason too."""
    if not reason.strip():
        raise Refused("the act has no reason", fix="say why with --reason TEXT")
    check_reason(project, reason)
