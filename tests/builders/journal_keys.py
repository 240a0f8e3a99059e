"""The keys of the services in this process, in place of OpenBao: the same in each test."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wellspring.trust.ledger.journal_key import SERVICE_KEYS_FILE, JournalKey, create_journal_key
from wellspring_verify.entry_signature import KEY_NAME_PART, SIGNED_SERVICES, service_of
from wellspring_verify.notes import KIND_LOG, VerifierKey


def _service_secret(service: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(service.encode()).digest())


SERVICE_KEYS = {service: _service_secret(service).public_key().public_bytes_raw() for service in SIGNED_SERVICES}
"""The public key of each service."""
SERVICE_KEY_LINES = tuple(
    str(VerifierKey(f"wellspring.example.com/test{KEY_NAME_PART}{service}", KIND_LOG, key))
    for service, key in SERVICE_KEYS.items()
)
"""The lines of a file of keys that name them."""


def journal_key(journal: str) -> JournalKey:
    """Make a key of a process for a journal, certified by its service."""
    return create_journal_key(journal, _service_secret(service_of(journal)).sign)


def write_service_keys(state_dir: Path) -> None:
    """Write the file in which a project has the keys of its services."""
    (state_dir / SERVICE_KEYS_FILE).write_text("".join(f"{line}\n" for line in SERVICE_KEY_LINES))
