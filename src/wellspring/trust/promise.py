"""The key under which one API process promises its answers: known in the ledger before it signs, renewed in time.

The secret half lives in this process's memory and ends with it. What exactly is signed, `wellspring_verify.promise`
says; until when a key holds, its ledger entry says.
"""

from __future__ import annotations

import base64
import threading
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from wellspring.errors import NotFound
from wellspring.records.clock import Clock
from wellspring.records.models import Promise
from wellspring.records.observe import Step
from wellspring.records.record import stamp
from wellspring_verify import promise

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

LASTS = timedelta(hours=24)
EARLY = timedelta(hours=1)
"""A key that ends within this signs no more: its answers must be journalled while it still holds."""


class PublicKey(NamedTuple):
    """The half of a promise key that everybody may have. public: 32 bytes."""

    id: str
    public: bytes
    expires: datetime

    @property
    def text(self) -> str:
        """The public half as the ledger holds it: base64."""
        return base64.b64encode(self.public).decode()


class PromiseKey:
    """One key whose public half is in the ledger."""

    def __init__(self, secret: Ed25519PrivateKey, known: PublicKey, made: datetime) -> None:
        self.known = known
        self.made = made
        self._secret = secret

    @property
    def id(self) -> str:
        return self.known.id

    def promise(self, text: bytes) -> Promise:
        """Sign the text of an answer (`wellspring_verify.promise.text`)."""
        signature = self._secret.sign(text)
        return Promise(key=self.id, signature=base64.b64encode(signature).decode())


class Promises:
    """Hands out the key of now. Safe for threads."""

    def __init__(self, *, step: Step, clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self._turn = threading.Lock()
        self._now: PromiseKey | None = None
        self._known: dict[str, PublicKey] = {}

    def key(self) -> PromiseKey:
        """Return a key that holds for an hour at least; a new one is in the journal, durably, before it is returned.

        Raises Unavailable when it cannot be journalled: then nothing can be promised.
        """
        with self._turn:
            now = self._clock.now()
            if self._now is None or not self._now.made <= now < self._now.known.expires - EARLY:
                self._now = self._made(now)
            return self._now

    def public(self, key_id: str) -> PublicKey:
        """Return the public half of a key that this process has promised with. Raises NotFound."""
        if key_id not in self._known:
            raise NotFound(
                "this process has made no such key", fix="look for its entry in the ledger: the action is `key`"
            )
        return self._known[key_id]

    def _made(self, now: datetime) -> PromiseKey:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        secret = Ed25519PrivateKey.generate()
        public = secret.public_key().public_bytes_raw()
        known = PublicKey(promise.key_id(public), public, now + LASTS)
        with self._step("key", f"key:{known.id}", facts={"public": known.text, "expires": stamp(known.expires)}):
            pass
        self._known[known.id] = known
        return PromiseKey(secret, known, now)
