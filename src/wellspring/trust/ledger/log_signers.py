"""The keys of the log: what signs for a tree of which size, and how a key is followed by a new one."""

from __future__ import annotations

from collections.abc import Callable

from wellspring.errors import CorruptedError, Unavailable
from wellspring.stores.objects.port import NamedBlobStore
from wellspring.trust.keys.port import LogKeyVersions, LogSigner
from wellspring.trust.ledger.cosigner import Cosigner
from wellspring.trust.ledger.tree import SUCCESSIONS_FILE, MerkleTree
from wellspring_verify import log_keys, notes
from wellspring_verify.canonical import MalformedError


class LogSigners:
    """The signer of each key of one log. first: signs with the first key. versions: None if the key never changes.

    The successions are in the ledger's folder before the new key signs anything.
    """

    def __init__(
        self,
        paths: NamedBlobStore,
        origin: str,
        first: LogSigner,
        versions: LogKeyVersions | None,
        crash_point: Callable[[str], None],
    ) -> None:
        self.first_key = notes.VerifierKey(origin, notes.KIND_LOG, first.public_key())
        self._paths = paths
        self._origin = origin
        self._first = first
        self._versions = versions
        self._crash_point = crash_point
        self._successions = self._read_successions()
        self._registered = 0

    @property
    def count(self) -> int:
        """How many keys the log has had."""
        return len(self._successions) + 1

    @property
    def newest_key(self) -> notes.VerifierKey:
        return self._successions[-1].key if self._successions else self.first_key

    def find_key(self, size: int) -> notes.VerifierKey:
        """Return the key that signs for a tree of this size."""
        return log_keys.find_key(self.first_key, self._successions, size)

    def sign_head(self, head: notes.CheckpointHead) -> notes.NoteSignature:
        """Sign a checkpoint with the key for its size. Raises CorruptedError if the key server has another key."""
        text, key = head.to_text(), self.find_key(head.size)
        keys = (self.first_key, *(succession.key for succession in self._successions))
        signature = notes.NoteSignature(key.name, key.key_id, self._open_signer(keys.index(key) + 1).sign(text))
        if not notes.verify_signature_line(signature, key, text):
            raise CorruptedError(
                "the signer's signature does not match its own public key", fix="stop; check the key server"
            )
        return signature

    def register_keys(self, witness: Cosigner) -> None:
        """Let the witness know each key. Raises Unavailable, CorruptedError if it has other keys of this log."""
        for succession in self._successions[self._registered :]:
            response = witness.add_key(succession.note)
            if response.status != 200:
                reason = ascii(response.body[:200].decode("utf-8", "replace").strip())
                raise CorruptedError(
                    f"the witness refused a key of the log ({response.status}: {reason})", fix="stop; keep both folders"
                )
            self._registered += 1

    def add_key(self, size: int, witness: Cosigner) -> notes.VerifierKey:
        """Make a new key, which signs for trees larger than `size`, and let no former one sign any more.

        What a crash interrupted is completed: a version that no succession names yet is used. Raises Unavailable,
        CorruptedError.
        """
        if self._versions is None:
            raise Unavailable("the key of this log cannot change", fix="use the sequencer of the project")
        version = self._versions.latest_version()
        if version == self.count:
            version = self._versions.add_version()
        self._crash_point("ledger.rotate:version-made")
        signer, former_key = self._versions.open_signer(version), self.newest_key
        key = notes.VerifierKey(self._origin, notes.KIND_LOG, signer.public_key())
        text = log_keys.succession_text(self._origin, size, key)
        lines = b"".join(
            notes.NoteSignature(owner.name, owner.key_id, with_key.sign(text)).to_line()
            for owner, with_key in ((former_key, self._open_signer(self.count)), (key, signer))
        )
        note = text + b"\n" + lines
        signed_notes = (*(succession.note for succession in self._successions), note)
        self._paths.replace(SUCCESSIONS_FILE, log_keys.encode_successions(signed_notes))
        self._crash_point("ledger.rotate:succession-written")
        self._successions = self._read_successions()
        self.complete(witness)
        return key

    def complete(self, witness: Cosigner) -> None:
        """Register each key with the witness, then retire the former ones; done again, it changes nothing."""
        self.register_keys(witness)
        self._crash_point("ledger.rotate:registered")
        if self._versions is not None and self.count > 1:
            self._versions.retire_versions(self.count)

    def _open_signer(self, version: int) -> LogSigner:
        if version == 1 or self._versions is None:
            return self._first
        return self._versions.open_signer(version)

    def _read_successions(self) -> tuple[log_keys.KeySuccession, ...]:
        try:
            return log_keys.parse_successions(self.first_key, MerkleTree(self._paths).read_successions())
        except MalformedError as exc:
            raise CorruptedError(
                f"{SUCCESSIONS_FILE} of the ledger is damaged: {exc}", fix="restore it from a copy"
            ) from None
