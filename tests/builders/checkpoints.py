"""Signed checkpoints of a small log."""

from __future__ import annotations

from tests.builders.ledger import LocalSigner
from wellspring_verify import merkle, notes

LEAVES = [merkle.hash_leaf(bytes([n])) for n in range(40)]
ORIGIN = "wellspring.example.com/health_plan/0123abcd"
SIGNER = LocalSigner()
LOG = notes.VerifierKey(ORIGIN, notes.KIND_LOG, SIGNER.public_key())


def checkpoint(leaves: list[bytes], *, origin: str = ORIGIN, signer: LocalSigner = SIGNER) -> bytes:
    head = notes.CheckpointHead(origin, len(leaves), merkle.compute_root(leaves))
    key = notes.VerifierKey(origin, notes.KIND_LOG, signer.public_key())
    return head.to_text() + b"\n" + notes.NoteSignature(origin, key.key_id, signer.sign(head.to_text())).to_line()
