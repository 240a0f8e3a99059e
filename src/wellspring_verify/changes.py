"""Check the release of a change of policies, dbt code or a contract: its users, signatures, and when it went live."""

from __future__ import annotations

from collections.abc import Mapping

from wellspring_verify.canonical import CanonicalValue
from wellspring_verify.entries import EntryBook, PackRef, fact_text
from wellspring_verify.users import ApprovalChecker, GapReporter

CHANGE_FIELDS = ("kind", "name", "content")


def is_change(content: Mapping[str, CanonicalValue]) -> bool:
    """Return whether the text of a release is that of a change, not of a model."""
    return all(isinstance(content.get(name), str) for name in CHANGE_FIELDS)


def check_change(
    book: EntryBook,
    approvals: ApprovalChecker,
    report_gap: GapReporter,
    ref: PackRef,
    content: Mapping[str, CanonicalValue],
) -> None:
    """Report a gap for a signature that is not that of its user, and for a switch without the signatures it needs.

    A change that is not live yet, or was refused, needs none of them. The first content is adopted without a user.
    """
    signed_name = f"{content['kind']}:{content['name']}"
    content_ref = PackRef(signed_name, str(content["content"]))
    proposals = [proposal for proposal in book.completed("propose", ref.name) if ref in proposal.outputs]
    for proposal in proposals:
        if content_ref not in proposal.inputs:
            report_gap(proposal, f"it does not name {signed_name!a} by the digest that {ref.name!a} has")
    valid = approvals.valid_approvals(ref, signed_name, proposals)
    for switch in book.completed("activate", ref.name):
        effect = book.effective_from(switch)
        needed = valid if content.get("needs_second_person") is True else proposals
        if content_ref not in switch.outputs or fact_text(switch, "previous_release") != content.get("replaces"):
            report_gap(switch, f"it made something else live than {ref.name!a} says")
        if not any(entry.tree_index < effect for entry in needed):
            signer = "a second user approved it" if needed is valid else "a user proposed it"
            report_gap(switch, f"{ref.name!a} went live before {signer}")
