"""Entries of some actions, read from the tiles of the log and proved against its signed checkpoint, without the index.

An index, or a proof for one entry, cannot show that no later entry exists. Here every leaf is hashed, so a checkpoint
with a valid signature proves that the listed entries are all that the log has of these actions. A refresh reads only
what was added since the one before.
"""

from __future__ import annotations

from collections.abc import Collection

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.trust import EntryPhase, IndexedEntry
from wellspring.trust.ledger.index_rows import parse_entry
from wellspring.trust.ledger.tree import TILE_WIDTH, MerkleTree
from wellspring_verify import merkle, notes
from wellspring_verify.canonical import MalformedError
from wellspring_verify.leaf import parse_leaf

_VERIFY_FIX = "run `wellspring ledger verify`; keep everything"


class ProvedEntries:
    """The entries of some actions up to the checkpoint that the latest `refresh` has verified. Use in one thread.

    log_key: the first key of the log.
    """

    def __init__(self, tree: MerkleTree, log_key: notes.VerifierKey, actions: Collection[str]) -> None:
        self._tree = tree
        self._log_key = log_key
        self._actions = frozenset(actions)
        self._markers = tuple(f'"action":"{action}"'.encode() for action in sorted(self._actions))
        self._range = merkle.CompactRange()
        self._root: bytes = merkle.EMPTY_ROOT
        self._entries: list[IndexedEntry] = []

    def refresh(self) -> None:
        """Read and prove what the log has gained. Raises CorruptedError, and keeps what was proved before."""
        head = self._read_head()
        if head is None:
            if self._range.size:
                raise CorruptedError("the checkpoint of the log is missing", fix=_VERIFY_FIX)
            return
        if head.size < self._range.size or (head.size == self._range.size and head.root != self._root):
            raise CorruptedError("the log was rolled back, or is another one", fix=_VERIFY_FIX)
        if head.size == self._range.size:
            return
        extended, added = self._range.copy(), list[IndexedEntry]()
        for number in range(extended.size // TILE_WIDTH, -(-head.size // TILE_WIDTH)):
            bundle = self._tree.read_bundle(number, head.size)
            for content in bundle[extended.size - number * TILE_WIDTH :]:
                if any(marker in content for marker in self._markers) and parse_leaf(content) is None:
                    entry = parse_entry(content)
                    if entry.action in self._actions:
                        added.append(IndexedEntry(index=extended.size, entry=entry))
                extended.add_leaf(merkle.hash_leaf(content))
        if extended.size != head.size or extended.compute_root() != head.root:
            raise CorruptedError("the entries of the log do not match its signed checkpoint", fix=_VERIFY_FIX)
        self._range, self._root = extended, head.root
        self._entries += added

    def list_entries(
        self, *, subject: str | None = None, action: str | None = None, phase: EntryPhase | None = None
    ) -> list[IndexedEntry]:
        """List the entries that match all filters, in the order of the log."""
        return [
            indexed
            for indexed in self._entries
            if subject in (None, indexed.entry.subject)
            and action in (None, indexed.entry.action)
            and phase in (None, indexed.entry.phase)
        ]

    def _read_head(self) -> notes.CheckpointHead | None:
        """Read the checkpoint and verify the log's signature; None before the first."""
        try:
            note = notes.parse_note(self._tree.read_checkpoint())
            head = notes.parse_checkpoint(note.text)
        except NotFound:
            return None
        except MalformedError as exc:
            raise CorruptedError(f"the log's checkpoint is damaged: {exc}", fix=_VERIFY_FIX) from None
        log_key = self._tree.find_log_key(self._log_key, head.size)
        is_signed = any(notes.verify_signature_line(line, log_key, note.text) for line in note.signatures)
        if head.origin != self._log_key.name or not is_signed:
            raise CorruptedError("the checkpoint has no valid signature of this log", fix=_VERIFY_FIX)
        return head
