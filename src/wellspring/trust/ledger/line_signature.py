"""Check who wrote a line: its own signature, or for the line of an answer the service that may write it unsigned."""

from __future__ import annotations

from collections.abc import Mapping

from wellspring.records.trust import Entry
from wellspring.trust.ledger.leaf import HASHED_ACTIONS
from wellspring_verify import entry_signature

ANSWERING_SERVICE = "api"
"""The only service whose journal may have lines without a signature: those of answers."""


def find_line_fault(entry: Entry, content: bytes, service_keys: Mapping[str, bytes]) -> str:
    """Return why a line was not written by its service; '' if nothing contradicts it.

    The line of an answer has no signature: the next entry of its journal that names the state covers it.
    """
    if entry.signature is None and entry.action in HASHED_ACTIONS and entry.service == ANSWERING_SERVICE:
        return ""
    signature = None if entry.signature is None else entry.signature.model_dump()
    return entry_signature.find_signature_fault(entry.service, content, signature, service_keys)
