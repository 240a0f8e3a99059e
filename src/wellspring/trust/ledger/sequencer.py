"""Add journal entries to the tree, each exactly once, and have the new checkpoint signed and cosigned."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.stores.objects.port import NamedBlobStore
from wellspring.trust.keys.port import LogKeyVersions, LogSigner
from wellspring.trust.ledger.cosigner import Cosigner, cosign_checkpoint
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.index_rows import IndexRow
from wellspring.trust.ledger.journal_merge import JournalMerge
from wellspring.trust.ledger.log_signers import LogSigners
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

PIECE_ENTRIES = 64 * TILE_WIDTH
"""Entries that one checkpoint adds at most. It bounds the memory of a run, and what a crash leaves unpublished."""


class IntegrationReport(NamedTuple):
    """The newest checkpoint, and by service why its journal could not be read to its end."""

    checkpoint: SignedCheckpoint
    findings: Mapping[str, CorruptedError]


class Sequencer:
    """Integrates the journals into the tree. One at a time: only its process writes the ledger's folder.

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
        service_keys: Mapping[str, bytes],
        crash_point: Callable[[str], None],
        key_versions: LogKeyVersions | None = None,
    ) -> None:
        self._paths = paths
        self._journals = journals
        self.origin = origin
        self._signer = signer
        self._witness = witness
        self._index = index
        self._service_keys = service_keys
        self._crash_point = crash_point
        self._tree = MerkleTree(paths)
        self._key_versions = key_versions

    @cached_property
    def signers(self) -> LogSigners:
        """The keys of the log; the first one is stored beside the tiles for offline readers."""
        signers = LogSigners(self._paths, self.origin, self._signer, self._key_versions, self._crash_point)
        self._paths.write_once(LOG_KEY_FILE, f"{signers.first_key}\n".encode())
        return signers

    def verifier_key(self) -> str:
        """Return the log's first verifier key, with which all later ones are verified."""
        return str(self.signers.first_key)

    def add_log_key(self, size: int) -> notes.VerifierKey:
        """Let a new key sign for trees larger than `size`. Raises as `LogSigners.add_key`."""
        return self.signers.add_key(size, self._witness)

    def complete_key_rotation(self) -> None:
        """Complete what a crash left of a rotation whose new key is in the ledger's folder."""
        self.signers.complete(self._witness)

    def integrate(self) -> SignedCheckpoint:
        """Add the new journal entries, and return the newest checkpoint. Raises also what `integrate_all` returns."""
        report = self.integrate_all()
        for finding in report.findings.values():
            raise finding
        return report.checkpoint

    def integrate_all(self, excluded: Container[str] = frozenset()) -> IntegrationReport:
        """Add the new journal entries in pieces, each under a checkpoint that is signed and cosigned.

        excluded: services whose journals are left out. A damaged journal ends at its damage, and the others go on.
        Raises Unavailable if signer or witness do not respond (nothing is lost: run it again), CorruptedError if tiles,
        checkpoint or witness contradict each other.
        """
        published = self._read_published()
        self._index.refresh()
        merge = JournalMerge(self._journals, self._index.last_sequence, self._service_keys, excluded)
        rows = [merge.confirm_placed(content) for content in self._adopt_bundles(published.size if published else 0)]
        while True:
            rows += merge.take(max(0, PIECE_ENTRIES - len(rows)))
            if published is None or rows:
                published = self._add_rows(published, rows)
            if len(rows) < PIECE_ENTRIES:
                return IntegrationReport(published, merge.findings)
            rows = []

    def _add_rows(self, published: SignedCheckpoint | None, rows: Sequence[IndexRow]) -> SignedCheckpoint:
        size = published.size if published else 0
        entries = [row.leaf for row in rows]
        self._write_bundles(size, entries)
        self._crash_point("ledger.integrate:bundles-written")
        for tile, content in updated_tiles(self._tree, size, [merkle.hash_leaf(content) for content in entries]):
            self._paths.write_once(tile, content)
        self._remove_partials(size, size + len(entries))
        self._crash_point("ledger.integrate:tiles-written")
        checkpoint = self._publish(published, size + len(entries))
        self._index.add_rows(size, rows)
        return checkpoint

    def _publish(self, published: SignedCheckpoint | None, size: int) -> SignedCheckpoint:
        head = notes.CheckpointHead(self.origin, size, self._tree.root_hash(size))
        signature = self.signers.sign_head(head)
        self._crash_point("ledger.integrate:signed")
        note = head.to_text() + b"\n" + signature.to_line()
        self.signers.register_keys(self._witness)
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
        return SignedCheckpoint(head.size, head.root, note + line)

    def _read_published(self) -> SignedCheckpoint | None:
        try:
            note = self._tree.read_checkpoint()
        except NotFound:
            return None
        head = self._tree.read_head()
        key = self.signers.find_key(head.size)
        if head.origin != self.origin or not any(
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

    def _adopt_bundles(self, size: int) -> Iterator[bytes]:
        """Yield the entries beyond the checkpoint that an earlier run wrote and could not publish."""
        number, published_count = divmod(size, TILE_WIDTH)
        while True:
            try:
                content = self._paths.read(tile_name(ENTRIES_LEVEL, number))
            except NotFound:
                wider = [
                    width for width in partial_widths(self._paths, ENTRIES_LEVEL, number) if width > published_count
                ]
                if not wider:
                    return
                content = self._paths.read(tile_name(ENTRIES_LEVEL, number, wider[-1]))
            entries = decode_bundle(content)
            yield from entries[published_count:]
            if len(entries) < TILE_WIDTH:
                return
            number, published_count = number + 1, 0

    def _write_bundles(self, size: int, fresh: Sequence[bytes]) -> None:
        number, existing_count = divmod(size, TILE_WIDTH)
        existing = self._tree.read_bundle(number, size) if existing_count else []
        entries = [*existing, *fresh]
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
