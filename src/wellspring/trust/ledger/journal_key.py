"""The key with which one process signs the lines of its journal. It exists in the memory of that process only.

`wellspring_verify.entry_signature` defines what is signed, and verifies it.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.trust import LineSignature
from wellspring_verify import entry_signature
from wellspring_verify.canonical import MalformedError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SERVICE_KEYS_FILE = "service-keys"
"""File in the project's state folder with the verifier key of each service."""


class JournalKey:
    """The key of one process for one journal, certified by the key of the service."""

    def __init__(self, journal: str, secret: Ed25519PrivateKey, certificate: bytes) -> None:
        self.journal = journal
        self._secret = secret
        self._key = base64.b64encode(secret.public_key().public_bytes_raw()).decode()
        self._certificate = base64.b64encode(certificate).decode()

    def sign_line(self, text: bytes) -> LineSignature:
        """Sign a line. text: its canonical JSON without a signature."""
        value = base64.b64encode(self._secret.sign(text)).decode()
        return LineSignature(certificate=self._certificate, key=self._key, value=value)


def create_journal_key(journal: str, certify: Callable[[bytes], bytes]) -> JournalKey:
    """Make the key of this process. certify: signs with the key of the service, and raises its errors."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = Ed25519PrivateKey.generate()
    public_key = secret.public_key().public_bytes_raw()
    return JournalKey(journal, secret, certify(entry_signature.certified_text(journal, public_key)))


def service_key_name(journal: str) -> str:
    """Name the key in OpenBao that certifies the keys for a journal."""
    return f"journal-{entry_signature.service_of(journal)}"


def read_service_keys(state_dir: Path) -> Mapping[str, bytes]:
    """Read the public key of each service. Raises NotFound before the first start, CorruptedError."""
    return entry_signature.parse_service_keys(read_service_key_lines(state_dir))


def read_service_key_lines(state_dir: Path) -> list[str]:
    """Read the verifier keys of the services, as lines. Raises NotFound before the first start, CorruptedError."""
    path = state_dir / SERVICE_KEYS_FILE
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        entry_signature.parse_service_keys(lines)
        return lines
    except FileNotFoundError:
        raise NotFound(
            f"{path} is missing: an older version created this project, or it was never started",
            fix="prove what you need, then `wellspring clean` and `wellspring up`",
        ) from None
    except (MalformedError, UnicodeDecodeError):
        raise CorruptedError(f"{path} is damaged", fix="restore it from a copy") from None
