"""Sign the predictions of an API process, with a key that is in the ledger before it signs, and renewed in time.

The private key exists only in the memory of this process. `wellspring_verify.answer_signature` defines the signed text;
the ledger entry of a key has its expiry.
"""

from __future__ import annotations

import base64
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import NotFound
from wellspring.records.clock import Clock
from wellspring.records.models import AnswerSignature
from wellspring.records.observe import Recorder
from wellspring.records.record import format_instant
from wellspring_verify import answer_signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_LIFETIME = timedelta(hours=24)
RENEWAL_MARGIN = timedelta(hours=1)
"""A key that expires within this time signs no more: its predictions must be journaled before it expires."""


class SigningPublicKey(NamedTuple):
    """The public part of a signing key. public_bytes: 32 bytes, Ed25519."""

    key_id: str
    public_bytes: bytes
    expires_at: datetime

    @property
    def encoded(self) -> str:
        """The public key as in the ledger: base64."""
        return base64.b64encode(self.public_bytes).decode()


class SigningKey:
    """A private key whose public key is in the ledger."""

    def __init__(self, secret: Ed25519PrivateKey, public_key: SigningPublicKey, created_at: datetime) -> None:
        self.public_key = public_key
        self.created_at = created_at
        self._secret = secret

    @property
    def key_id(self) -> str:
        return self.public_key.key_id

    def sign_answer(self, text: bytes) -> AnswerSignature:
        """Sign the text of a prediction (`wellspring_verify.answer_signature.signed_text`)."""
        signature = self._secret.sign(text)
        return AnswerSignature(key_id=self.key_id, value=base64.b64encode(signature).decode())


class AnswerSigner:
    """Creates, renews and returns the current signing key. Thread-safe."""

    def __init__(self, *, step: Recorder, clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self._lock = threading.Lock()
        self._current: SigningKey | None = None
        self._public_keys: dict[str, SigningPublicKey] = {}

    def current_key(self) -> SigningKey:
        """Return a key that is valid for at least an hour; a new key is durable in the journal before it is returned.

        Raises Unavailable if it cannot be journaled: then nothing can be signed.
        """
        with self._lock:
            now = self._clock.now()
            if (
                self._current is None
                or not self._current.created_at <= now < self._current.public_key.expires_at - RENEWAL_MARGIN
            ):
                self._current = self._create_key(now)
            return self._current

    def public_key(self, key_id: str) -> SigningPublicKey:
        """Return a public key that this process created. Raises NotFound."""
        if key_id not in self._public_keys:
            raise NotFound(
                "this process has not created this key",
                fix="look for its entry in the ledger: the action is `create_key`",
            )
        return self._public_keys[key_id]

    def _create_key(self, now: datetime) -> SigningKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        secret = Ed25519PrivateKey.generate()
        public_bytes = secret.public_key().public_bytes_raw()
        public_key = SigningPublicKey(answer_signature.compute_key_id(public_bytes), public_bytes, now + KEY_LIFETIME)
        with self._step(
            "create_key",
            f"key:{public_key.key_id}",
            facts={"public_key": public_key.encoded, "expires_at": format_instant(public_key.expires_at)},
        ):
            pass
        self._public_keys[public_key.key_id] = public_key
        return SigningKey(secret, public_key, now)
