"""The key under which one API process promises its answers: known in the ledger before it signs, renewed in time.

The secret half lives in this process's memory and ends with it. What exactly is signed, `wellspring_verify.answer_signature`
says; until when a key holds, its ledger entry says.
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
"""A key that ends within this signs no more: its answers must be journalled while it still holds."""


class SigningPublicKey(NamedTuple):
    """The half of a promise key that everybody may have. public: 32 bytes."""

    key_id: str
    public_bytes: bytes
    expires_at: datetime

    @property
    def encoded(self) -> str:
        """The public half as the ledger holds it: base64."""
        return base64.b64encode(self.public_bytes).decode()


class SigningKey:
    """One key whose public half is in the ledger."""

    def __init__(self, secret: Ed25519PrivateKey, public_key: SigningPublicKey, created_at: datetime) -> None:
        self.public_key = public_key
        self.created_at = created_at
        self._secret = secret

    @property
    def key_id(self) -> str:
        return self.public_key.key_id

    def sign_answer(self, text: bytes) -> AnswerSignature:
        """Sign the text of an answer (`wellspring_verify.answer_signature.text`)."""
        signature = self._secret.sign(text)
        return AnswerSignature(key_id=self.key_id, value=base64.b64encode(signature).decode())


class AnswerSigner:
    """Hands out the key of now. Safe for threads."""

    def __init__(self, *, step: Recorder, clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self._lock = threading.Lock()
        self._current: SigningKey | None = None
        self._public_keys: dict[str, SigningPublicKey] = {}

    def current_key(self) -> SigningKey:
        """Return a key that holds for an hour at least; a new one is in the journal, durably, before it is returned.

        Raises Unavailable when it cannot be journalled: then nothing can be promised.
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
        """Return the public half of a key that this process has promised with. Raises NotFound."""
        if key_id not in self._public_keys:
            raise NotFound(
                "this process has made no such key", fix="look for its entry in the ledger: the action is `key`"
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
