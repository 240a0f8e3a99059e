"""Add journal entries to the tree, each exactly once, and have the new checkpoint signed and cosigned."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.clock import Clock
from wellspring.records.trust import Entry
from wellspring.stores.objects.port import NamedBlobStore
from wellspring.trust.keys.port import LogSigner
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.cosigner import Cosigner, cosign_checkpoint
from wellspring.trust.ledger.index import LedgerIndex, parse_entry
from wellspring.trust.ledger.tree import (
    CHECKPOINT_FILE,
    ENTRIES_LEVEL,
    LOG_KEY_FILE,
    TILE_WIDTH,
    MerkleTree,
    SignedCheckpoint,
    decode_bundle,
    encode_bundle,
    partial_widths,
    tile_name,
    updated_tiles,
)
from wellspring_verify import merkle, notes


class _PendingEntry(NamedTuple):
    written_at: float
    service: str
    sequence: int
    content: bytes


class Sequencer:
    """Integrates the journals into the tree. One at a time: the caller holds the writer lock of the project.

    The next run recovers from a crash at any point. Entry bundles are written first, and only once; bundles beyond the
    checkpoint are adopted unchanged, so an entry keeps its index, and a signed root stays valid.
    """

    def __init__(
        self,
        *,
        paths: NamedBlobStore,
        journals: Path,
        origin: str,
        signer: LogSigner,
        witness: Cosigner,
        index: LedgerIndex,
        clock: Clock,
        crash_point: Callable[[str], None],
    ) -> None:
        self._paths = paths
        self._journals = journals
        self._origin = origin
        self._signer = signer
        self._witness = witness
        self._index = index
        self._clock = clock
        self._crash_point = crash_point
        self._tree = MerkleTree(paths)
        self._key: notes.VerifierKey | None = None

    def verifier_key(self) -> str:
        """Return the log's verifier key, and store it beside the tiles for offline readers."""
        if self._key is None:
            self._key = notes.VerifierKey(self._origin, notes.KIND_LOG, self._signer.public_key())
            self._paths.write_once(LOG_KEY_FILE, f"{self._key}\n".encode())
        return str(self._key)

    def integrate(self) -> SignedCheckpoint:
        """Add the new journal entries, and return the newest checkpoint, signed and cosigned.

        Raises Unavailable if signer or witness do not respond (nothing is lost: run it again), CorruptedError if
        journals, tiles, checkpoint or witness contradict each other.
        """
        key = notes.parse_verifier_key(self.verifier_key())
        published = self._read_published(key)
        size = published.size if published else 0
        self._index.refresh()
        adopted = self._adopt_bundles(size)
        fresh = adopted + self._collect_new_entries(adopted)
        if published and not fresh:
            return published
        leaves = [merkle.hash_leaf(content) for content in fresh]
        self._write_bundles(size, fresh)
        self._crash_point("ledger.integrate:bundles-written")
        for tile, content in updated_tiles(self._tree, size, leaves):
            self._paths.write_once(tile, content)
        self._remove_partials(size, size + len(fresh))
        self._crash_point("ledger.integrate:tiles-written")
        return self._publish(key, published, size + len(fresh))

    def _publish(self, key: notes.VerifierKey, published: SignedCheckpoint | None, size: int) -> SignedCheckpoint:
        head = notes.CheckpointHead(self._origin, size, self._tree.root_hash(size))
        text = head.to_text()
        signature = notes.NoteSignature(key.name, key.key_id, self._signer.sign(text))
        if not notes.verify_signature_line(signature, key, text):
            raise CorruptedError(
                "the signer's signature does not match its own public key", fix="stop; check the key server"
            )
        self._crash_point("ledger.integrate:signed")
        note = text + b"\n" + signature.to_line()
        line = cosign_checkpoint(
            self._witness,
            head=head,
            note=note,
            published=published.note if published else None,
            prove_consistency=self._tree.consistency_proof,
        )
        self._crash_point("ledger.integrate:cosigned")
        self._paths.replace(CHECKPOINT_FILE, note + line)
        self._crash_point("ledger.integrate:checkpoint-swapped")
        self._index.refresh()
        return SignedCheckpoint(head.size, head.root, note + line)

    def _read_published(self, key: notes.VerifierKey) -> SignedCheckpoint | None:
        try:
            note = self._tree.read_checkpoint()
        except NotFound:
            return None
        head = self._tree.read_head()
        if head.origin != self._origin or not any(
            notes.verify_signature_line(line, key, head.to_text()) for line in notes.parse_note(note).signatures
        ):
            raise CorruptedError(
                "the ledger's checkpoint is not signed by its own key", fix="compare it with the witness"
            )
        if self._tree.root_hash(head.size) != head.root:
            raise CorruptedError(
                "the ledger's tiles do not hash to its checkpoint", fix="run `wellspring ledger verify`"
            )
        return SignedCheckpoint(head.size, head.root, note)

    def _adopt_bundles(self, size: int) -> list[bytes]:
        """Return the entries beyond the checkpoint that an earlier run wrote and could not publish."""
        adopted: list[bytes] = []
        number, published_count = divmod(size, TILE_WIDTH)
        while True:
            try:
                content = self._paths.read(tile_name(ENTRIES_LEVEL, number))
            except NotFound:
                wider = [
                    width for width in partial_widths(self._paths, ENTRIES_LEVEL, number) if width > published_count
                ]
                if not wider:
                    return adopted
                content = self._paths.read(tile_name(ENTRIES_LEVEL, number, wider[-1]))
            entries = decode_bundle(content)
            adopted += entries[published_count:]
            if len(entries) < TILE_WIDTH:
                return adopted
            number, published_count = number + 1, 0

    def _collect_new_entries(self, adopted: list[bytes]) -> list[bytes]:
        last_sequences: dict[str, int] = {}
        for content in adopted:
            entry = parse_entry(content)
            self._require_next_sequence(entry, last_sequences)
            journal_line = next(journal.read_lines(self._journals, entry.service, entry.sequence - 1), None)
            if journal_line != (entry.sequence, content):
                raise CorruptedError(
                    f"a bundle beyond the checkpoint has {entry.id}, and the journal of {entry.service} does not",
                    fix="keep everything; another process wrote into the ledger's folder",
                )
            last_sequences[entry.service] = entry.sequence
        pending = [self._pending_entries(service, last_sequences) for service in journal.list_services(self._journals)]
        # Sorted by time across services; each service keeps the order of its journal.
        return [line.content for line in heapq.merge(*pending, key=lambda line: line.written_at)]

    def _pending_entries(self, service: str, adopted: dict[str, int]) -> Iterator[_PendingEntry]:
        last_sequence = adopted.get(service, self._index.last_sequence(service))
        latest = 0.0
        for sequence, content in journal.read_lines(self._journals, service, last_sequence):
            entry = parse_entry(content)
            if (entry.service, entry.sequence) != (service, sequence) or journal.encode_entry(entry) != content:
                raise CorruptedError(
                    f"line {sequence} of the journal of {service} is not the entry that was written there",
                    fix="keep the journal; run `wellspring ledger verify`",
                )
            latest = max(latest, entry.known_since.timestamp())
            yield _PendingEntry(latest, service, sequence, content)

    def _require_next_sequence(self, entry: Entry, last_sequences: dict[str, int]) -> None:
        previous = last_sequences.get(entry.service, self._index.last_sequence(entry.service))
        if entry.sequence != previous + 1:
            raise CorruptedError(
                f"the ledger has {entry.id} where entry {previous + 1} of {entry.service} belongs",
                fix="keep everything; run `wellspring ledger verify`",
            )

    def _write_bundles(self, size: int, fresh: list[bytes]) -> None:
        number, existing_count = divmod(size, TILE_WIDTH)
        existing = self._tree.read_bundle(number, size) if existing_count else []
        entries = existing + fresh
        for offset in range(0, len(entries), TILE_WIDTH):
            part = entries[offset : offset + TILE_WIDTH]
            self._paths.write_once(
                tile_name(ENTRIES_LEVEL, number + offset // TILE_WIDTH, len(part)), encode_bundle(part)
            )

    def _remove_partials(self, old_size: int, new_size: int) -> None:
        """Remove the partial tiles whose full tile exists; readers of older checkpoints use the full tile."""
        levels: list[tuple[int | str, int, int]] = [(ENTRIES_LEVEL, old_size, new_size)]
        levels += [(level, old_size >> 8 * level, new_size >> 8 * level) for level in range(8)]
        for level, old_count, new_count in levels:
            for number in range(old_count // TILE_WIDTH, new_count // TILE_WIDTH):
                for width in partial_widths(self._paths, level, number):
                    self._paths.remove(tile_name(level, number, width))
