"""Audit the whole ledger: compare every byte of the entries with checkpoint, tiles, journals, index and witness."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound, Unavailable, WellspringError
from wellspring.records.record import format_instant
from wellspring.records.trust import Entry
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import LedgerIndex
from wellspring.trust.ledger.index_rows import PACK_ACTION, parse_entry
from wellspring.trust.ledger.journal_state import JournalState, describe_difference
from wellspring.trust.ledger.keyring import LogVerifierKeys
from wellspring.trust.ledger.line_pack import LinePack
from wellspring.trust.ledger.line_reader import PackRange, pack_name
from wellspring.trust.ledger.line_signature import find_line_fault
from wellspring.trust.ledger.tree import ENTRIES_LEVEL, TILE_WIDTH, MerkleTree, decode_bundle, encode_bundle, tile_name
from wellspring_verify import merkle, notes
from wellspring_verify.canonical import MalformedError
from wellspring_verify.leaf import parse_leaf


class PendingEntries(NamedTuple):
    """Acknowledged entries of one journal that are not in the log. oldest: when the first of them was written."""

    service: str
    entries: int
    oldest: str


class JournalEvidence(NamedTuple):
    """The journals, and the state that each had when the sequencer saw it last and when its lines were last packed."""

    folder: Path
    seen_states: Mapping[str, JournalState] = {}
    packed_states: Mapping[str, JournalState] = {}


class LedgerReport(NamedTuple):
    """The result of an audit. findings: each inconsistency. pending: entries that no checkpoint covers yet.

    Acknowledged lines that are missing at the end of a journal are a finding if the sequencer has seen them, or if a
    later entry of the journal names them. Nothing can be said about others.
    """

    findings: tuple[str, ...]
    pending: tuple[PendingEntries, ...] = ()


def audit_ledger(
    tree: MerkleTree,
    keys: LogVerifierKeys | None = None,
    *,
    checkpoint: bytes | None = None,
    journals: JournalEvidence | None = None,
    index: LedgerIndex | None = None,
    service_keys: Mapping[str, bytes] | None = None,
) -> LedgerReport:
    """Recompute the tree from its entries, and list every inconsistency; no finding if all is consistent.

    keys: the verifier keys and the witness's own copy. checkpoint: read together with them (default: the current one).
    journals, index: compared with the tree if given; with journals, each line of which the tree holds only the digest
    must be in its journal or in a line pack. service_keys: with them the signature of each entry is checked.
    """
    findings = _LedgerAudit(service_keys)
    try:
        note = checkpoint or tree.read_checkpoint()
    except NotFound:
        if keys and keys.last_cosigned:
            findings.add_message("checkpoint: it is missing, but the witness has cosigned one: the ledger was removed")
        pending = findings.check_journals(journals) if journals else ()
        return LedgerReport(tuple(findings.messages), pending)
    try:
        parsed = notes.parse_note(note)
        head = notes.parse_checkpoint(parsed.text)
    except MalformedError as exc:
        return LedgerReport((f"checkpoint: {exc}",))
    leaves = findings.check_entries(tree, head.size)
    findings.check_tiles(tree, leaves)
    if len(leaves) == head.size and merkle.compute_root(leaves) != head.root:
        findings.add_message("checkpoint: its root does not match the entries: an entry or the checkpoint was changed")
    if keys:
        findings.check_signatures(tree, parsed, head, keys)
        findings.check_witness(head, leaves, keys)
    if index and not findings.messages:
        # A tree that was changed has another index.
        findings.check_index(index, len(leaves))
    if journals:
        findings.check_packs(tree, head.origin)
    # After the tree: whatever was appended since is pending, and nothing of the tree is missing.
    pending = findings.check_journals(journals) if journals else ()
    return LedgerReport(tuple(findings.messages), pending if len(leaves) == head.size else ())


class _Line(NamedTuple):
    """What the tree tells about one line. digest: its SHA-256. is_hashed: the tree has nothing else of it."""

    tree_index: int
    digest: bytes
    is_hashed: bool


class _LedgerAudit:
    def __init__(self, service_keys: Mapping[str, bytes] | None) -> None:
        self.messages: list[str] = []
        self._service_keys = service_keys
        self._lines: dict[tuple[str, int], _Line] = {}
        self._packs: list[PackRange] = []
        self._packed_indexes: set[int] = set()

    def add_message(self, message: str) -> None:
        self.messages.append(message)

    def check_entries(self, tree: MerkleTree, size: int) -> list[bytes]:
        """Hash every entry; check its form, and that the sequences of each service start at 0 without gaps."""
        leaves: list[bytes] = []
        last_sequences: dict[str, int] = {}
        for number in range(-(-size // TILE_WIDTH)):
            tile_path = tile_name(ENTRIES_LEVEL, number, min(TILE_WIDTH, size - number * TILE_WIDTH))
            try:
                bundle_entries = decode_bundle(
                    _read_tile_prefix(tree, ENTRIES_LEVEL, number, min(TILE_WIDTH, size - number * TILE_WIDTH))
                )
            except CorruptedError as exc:
                self.add_message(f"{tile_path}: {exc.what}")
                return leaves
            if len(bundle_entries) != min(TILE_WIDTH, size - number * TILE_WIDTH):
                self.add_message(
                    f"{tile_path}: it has {len(bundle_entries)} entries: it was cut, or something was added"
                )
                return leaves
            for content in bundle_entries:
                leaves.append(merkle.hash_leaf(content))
                self._check_entry(content, len(leaves) - 1, tile_path, last_sequences)
        return leaves

    def _check_entry(self, content: bytes, tree_index: int, tile_path: str, last_sequences: dict[str, int]) -> None:
        try:
            entry = parse_leaf(content) or parse_entry(content)
            if isinstance(entry, Entry) and journal.encode_entry(entry) != content:
                self.add_message(f"{tile_path}: entry {tree_index} is not in the canonical form")
            elif isinstance(entry, Entry) and self._service_keys is not None:
                self._check_signature(entry, content, tree_index, tile_path)
        except WellspringError:
            self.add_message(f"{tile_path}: entry {tree_index} cannot be read")
            return
        expected = last_sequences.get(entry.service, -1) + 1
        if entry.sequence != expected:
            self.add_message(
                f"{tile_path}: entry {tree_index} is {entry.id}, and {entry.service}:{expected} was expected"
            )
        last_sequences[entry.service] = entry.sequence
        digest = hashlib.sha256(content).digest() if isinstance(entry, Entry) else bytes.fromhex(entry.digest)
        self._lines[entry.service, entry.sequence] = _Line(tree_index, digest, not isinstance(entry, Entry))
        if isinstance(entry, Entry) and (entry.action, entry.phase) == (PACK_ACTION, "done"):
            digests = [ref.digest for ref in entry.outputs if ref.digest is not None]
            self._packs += [PackRange(entry.count("first"), entry.count("last"), digest) for digest in digests]

    def _check_signature(self, entry: Entry, content: bytes, tree_index: int, tile_path: str) -> None:
        if fault := find_line_fault(entry, content, self._service_keys or {}):
            self.add_message(f"{tile_path}: entry {tree_index}, {entry.id}: {fault}")

    def check_packs(self, tree: MerkleTree, origin: str) -> None:
        """Compare every line pack that an entry names with the digests in the tree."""
        by_index = {line.tree_index: line for line in self._lines.values() if line.is_hashed}
        for pack_range in self._packs:
            name = pack_name(pack_range.digest)
            try:
                content = tree.paths.read(name)
                if hashlib.sha256(content).hexdigest() != pack_range.digest:
                    self.add_message(f"{name}: it was changed: its SHA-256 is not its name")
                    continue
                pack = LinePack(content)
                if (pack.origin, pack.first, pack.last) != (origin, pack_range.first, pack_range.last):
                    self.add_message(f"{name}: it is not the pack that its entry describes, or of another log")
                lines = dict(pack.iter_lines())
            except WellspringError as exc:
                self.add_message(f"{name}: {exc.what}")
                continue
            for tree_index, line in lines.items():
                expected = by_index.get(tree_index)
                if expected is None or expected.digest != hashlib.sha256(line).digest():
                    self.add_message(f"{name}: its line {tree_index} is not the one whose digest is in the tree")
            self._packed_indexes |= lines.keys()

    def check_tiles(self, tree: MerkleTree, leaves: list[bytes]) -> None:
        """Compare every hash tile with the hashes of the entries."""
        level, hashes = 0, leaves
        while hashes:
            for offset in range(0, len(hashes), TILE_WIDTH):
                part = b"".join(hashes[offset : offset + TILE_WIDTH])
                tile_path = tile_name(level, offset // TILE_WIDTH, len(part) // 32)
                try:
                    stored = _read_tile_prefix(tree, level, offset // TILE_WIDTH, len(part) // 32)
                except CorruptedError as exc:
                    self.add_message(f"{tile_path}: {exc.what}")
                    continue
                if stored != part:
                    self.add_message(f"{tile_path}: its hashes do not match its entries: one of them was changed")
            level, hashes = level + 1, list(_parent_hashes(hashes))

    def check_signatures(
        self, tree: MerkleTree, parsed: notes.SignedNote, head: notes.CheckpointHead, keys: LogVerifierKeys
    ) -> None:
        log, witness = notes.parse_verifier_key(keys.log_key), notes.parse_verifier_key(keys.witness_key)
        try:
            log = tree.find_log_key(log, head.size)
        except CorruptedError as exc:
            self.add_message(f"vkey: {exc.what}")
        if log.name != head.origin:
            self.add_message(f"checkpoint: it is of the log {head.origin}, and the key is of {log.name}")
        if keys.registered_key is not None and keys.registered_key != keys.log_key:
            self.add_message("vkey: it differs from the key of this log that the witness has: one of them was replaced")
        for role, key in (("log", log), ("witness", witness)):
            if not any(notes.verify_signature_line(line, key, parsed.text) for line in parsed.signatures):
                self.add_message(f"checkpoint: the signature of the {role} {key.name} is missing or invalid")

    def check_witness(self, head: notes.CheckpointHead, leaves: list[bytes], keys: LogVerifierKeys) -> None:
        """Compare with the witness's own copy: it must be this tree, or the beginning of it."""
        if keys.last_cosigned is None:
            self.add_message(
                "witness: it has no checkpoint of this log, but the checkpoint is cosigned: its folder was replaced"
            )
            return
        try:
            copy = notes.parse_checkpoint(notes.parse_note(keys.last_cosigned).text)
        except MalformedError as exc:
            self.add_message(f"witness: its copy is damaged: {exc}")
            return
        if copy.size > head.size:
            self.add_message(
                f"checkpoint: it has {head.size} entries, and the witness has seen {copy.size}: the ledger's tail was "
                "cut, or it was rolled back (after a crash, `wellspring ingest` repairs it)"
            )
        elif len(leaves) == head.size and merkle.compute_root(leaves[: copy.size]) != copy.root:
            self.add_message(
                f"checkpoint: its first {copy.size} entries differ from those that the witness has seen: a fork"
            )
        elif copy.size < head.size:
            self.add_message(
                f"witness: it has seen only {copy.size} of {head.size} published entries: it was rolled back"
            )

    def check_journals(self, evidence: JournalEvidence) -> tuple[PendingEntries, ...]:
        """Compare the lines of each journal with the tree; return the lines not in the tree.

        Compare the journals with what their own entries name, and with what the sequencer has seen. A line that has
        left its journal must be packed.
        """
        missing = set(self._lines)
        pending: list[PendingEntries] = []
        for service in sorted({*journal.list_services(evidence.folder), *evidence.seen_states}):
            count, oldest = 0, b""
            for sequence, content in self._read_journal(evidence, service):
                entry_key = (service, sequence)
                missing.discard(entry_key)
                if entry_key not in self._lines:
                    count, oldest = count + 1, oldest or content
                    if fault := self._find_pending_fault(content, service, sequence):
                        self.add_message(f"journals/{service}: line {sequence}: {fault}")
                elif self._lines[entry_key].digest != hashlib.sha256(content).digest():
                    self.add_message(f"journals/{service}: line {sequence} is not the entry that is in the tree")
            if count:
                pending.append(PendingEntries(service, count, _written_at(oldest)))
        for service, sequence in sorted(missing):
            line = self._lines[service, sequence]
            if sequence >= evidence.packed_states.get(service, JournalState()).lines:
                self.add_message(f"journals/{service}: line {sequence} is in the tree, but missing in the journal")
            elif line.is_hashed and line.tree_index not in self._packed_indexes:
                self.add_message(f"journals/{service}: line {sequence} is neither in the journal nor in a line pack")
        return tuple(pending)

    def _find_pending_fault(self, content: bytes, service: str, sequence: int) -> str:
        """Return why the sequencer will not add a line to the log; '' if it will."""
        try:
            entry = parse_entry(content)
        except WellspringError:
            return "it is not what was written there"
        if (entry.service, entry.sequence) != (service, sequence):
            return "it is not what was written there"
        return "" if self._service_keys is None else find_line_fault(entry, content, self._service_keys)

    def _read_journal(self, evidence: JournalEvidence, service: str) -> Iterator[tuple[int, bytes]]:
        """Yield the lines of a journal; compare their number and digest with what they name, and with what was seen.

        Of the lines that are packed, the first may be gone; those that are left are compared with the tree alone.
        """
        packed, last_seen = (
            states.get(service, JournalState()) for states in (evidence.packed_states, evidence.seen_states)
        )
        first = journal.first_sequence(evidence.folder, service)
        state = packed if first else JournalState()
        if first > packed.lines:
            state = JournalState(first)
            self.add_message(f"journals/{service}: its first {first} lines are gone; only {packed.lines} are packed")
        try:
            for sequence, content in journal.read_lines(evidence.folder, service):
                if sequence >= state.lines:
                    if difference := describe_difference(state, content):
                        self.add_message(f"journals/{service}: {difference}")
                    state = state.add_line(content)
                    if state.lines == last_seen.lines and state != last_seen:
                        self.add_message(
                            f"journals/{service}: its first {last_seen.lines} lines are not those seen before"
                        )
                yield sequence, content
        except CorruptedError as exc:
            self.add_message(f"journals/{service}: {exc.what}")
        except FileNotFoundError:
            raise Unavailable(
                f"lines of the journal of {service} were packed while it was read", fix="run the command again"
            ) from None
        if state.lines < last_seen.lines:
            self.add_message(
                f"journals/{service}: it has {state.lines} lines, and the sequencer has seen {last_seen.lines}: "
                f"{last_seen.lines - state.lines} acknowledged lines are missing"
            )

    def check_index(self, index: LedgerIndex, size: int) -> None:
        """Compare each row of the index with those that are built anew from the log."""
        try:
            differing = index.find_differing_tables(size)
        except WellspringError as exc:
            self.add_message(f"index.sqlite: {exc.what}")
            return
        if differing:
            self.add_message(
                f"index.sqlite: it differs from the log in its tables {', '.join(differing)}: remove it, and run "
                "`wellspring restart sequencer`, which builds it anew"
            )


def _written_at(content: bytes) -> str:
    try:
        return format_instant(parse_entry(content).known_since)
    except WellspringError:
        return "unknown"


def _read_tile_prefix(tree: MerkleTree, level: int | str, number: int, width: int) -> bytes:
    """Read a stored tile; if it has grown since, only the part that this tree covers."""
    try:
        return tree.paths.read(tile_name(level, number, width))
    except NotFound:
        content = tree.read_tile(level, number, width)
        return encode_bundle(decode_bundle(content)[:width]) if level == ENTRIES_LEVEL else content[: 32 * width]


def _parent_hashes(hashes: list[bytes]) -> Iterator[bytes]:
    for offset in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH):
        yield merkle.compute_root(hashes[offset : offset + TILE_WIDTH])
