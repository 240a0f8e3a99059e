"""Read the Merkle tree of the ledger from its tiles: roots, proofs and entries for any tree size.

Format: C2SP tlog-tiles. `tile/<L>/<N>` has 256 hashes of level 8 L, `tile/entries/<N>` the 256 entries below
tile N of level 0; `.p/<W>` is a partial tile with W of them.
"""

from __future__ import annotations

import base64
import itertools
import secrets
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from wellspring.errors import CorruptedError, NotFound
from wellspring.stores.objects.port import NamedBlobStore
from wellspring_verify import log_keys, merkle, notes
from wellspring_verify.canonical import MalformedError

CHECKPOINT_FILE, ORIGIN_FILE, LOG_KEY_FILE = "checkpoint", "origin", "vkey"
SUCCESSIONS_FILE = "log-keys.json"
"""The successions of the log's key (`wellspring_verify.log_keys`); LOG_KEY_FILE has the first key."""
ORIGIN_HOST = "wellspring.example.com"
TILE_WIDTH = 256
ENTRIES_LEVEL = "entries"
_MAX_CACHED_TILES = 512


class SignedCheckpoint(NamedTuple):
    """A signed tree head. note: its bytes, with the signature lines of log and witness."""

    size: int
    root: bytes
    note: bytes


class MerkleTree:
    """The tree of the last checkpoint, in any blob store. Read-only and unverified: `audit` verifies it."""

    def __init__(self, paths: NamedBlobStore) -> None:
        self.paths = paths
        self._full_tiles: dict[tuple[int | str, int], bytes] = {}

    @property
    def size(self) -> int:
        """Number of entries under the current checkpoint; 0 before the first one."""
        try:
            return self.read_head().size
        except NotFound:
            return 0

    def read_checkpoint(self) -> bytes:
        """Return the current checkpoint, a signed note. Raises NotFound before the first one."""
        return self.paths.read(CHECKPOINT_FILE)

    def read_head(self) -> notes.CheckpointHead:
        """Parse the current checkpoint without verifying its signatures. Raises NotFound, CorruptedError."""
        try:
            return notes.parse_checkpoint(notes.parse_note(self.read_checkpoint()).text)
        except MalformedError as exc:
            raise CorruptedError(
                f"the ledger's checkpoint is damaged: {exc}", fix="compare it with the witness"
            ) from None

    def read_successions(self) -> bytes | None:
        """Return the successions of the log's key, not verified; None while it has its first key."""
        try:
            return self.paths.read(SUCCESSIONS_FILE)
        except NotFound:
            return None

    def find_log_key(self, first: notes.VerifierKey, size: int) -> notes.VerifierKey:
        """Return the key that signs for a tree of this size. first: the log's first key. Raises CorruptedError."""
        try:
            return log_keys.find_key(first, log_keys.parse_successions(first, self.read_successions()), size)
        except MalformedError as exc:
            raise CorruptedError(
                f"{SUCCESSIONS_FILE} of the ledger is damaged: {exc}", fix="restore it from a copy"
            ) from None

    def root_hash(self, size: int) -> bytes:
        """Return the root of the tree's first `size` entries."""
        return self._range_hash(0, size, size) if size else merkle.EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int) -> list[bytes]:
        """Prove that entry `index` is in the tree of `size` entries."""
        if not 0 <= index < size:
            raise NotFound(f"the tree of {size} entries has no entry {index}", fix="entries are counted from 0")
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _largest_power_below(end - start)
            if index < middle:
                proof.append(self._range_hash(middle, end, size))
                end = middle
            else:
                proof.append(self._range_hash(start, middle, size))
                start = middle
        return proof[::-1]

    def consistency_proof(self, old_size: int, new_size: int) -> list[bytes]:
        """Prove that the tree of `old_size` entries is the beginning of the tree of `new_size` entries."""
        if not 0 <= old_size <= new_size:
            raise NotFound(
                f"a tree of {old_size} entries is not older than one of {new_size}", fix="name the older tree first"
            )
        if old_size in (0, new_size):
            return []
        proof: list[bytes] = []
        start, end, is_leftmost = 0, new_size, True
        while old_size != end:
            middle = start + _largest_power_below(end - start)
            if old_size <= middle:
                proof.append(self._range_hash(middle, end, new_size))
                end = middle
            else:
                proof.append(self._range_hash(start, middle, new_size))
                start, is_leftmost = middle, False
        return ([] if is_leftmost else [self._range_hash(start, end, new_size)]) + proof[::-1]

    def read_entry(self, index: int) -> bytes:
        """Return the bytes of one entry. Raises NotFound beyond the checkpoint."""
        size = self.size
        if not 0 <= index < size:
            raise NotFound(f"the ledger has {size} entries, and no entry {index}", fix="entries are counted from 0")
        return self.read_bundle(index // TILE_WIDTH, size)[index % TILE_WIDTH]

    def iter_entries(self, indexes: Iterable[int]) -> Iterator[tuple[int, bytes]]:
        """Yield (index, bytes) of the entries with these ascending indexes; each bundle is read once."""
        size = self.size
        for number, group in itertools.groupby(indexes, lambda index: index // TILE_WIDTH):
            bundle = self.read_bundle(number, size)
            for index in group:
                if index % TILE_WIDTH >= len(bundle):
                    raise NotFound(f"the ledger has {size} entries, and no entry {index}", fix="check the index")
                yield index, bundle[index % TILE_WIDTH]

    def read_bundle(self, number: int, size: int) -> list[bytes]:
        """Return the entries of one bundle that are in the tree of `size` entries."""
        width = min(TILE_WIDTH, size - number * TILE_WIDTH)
        return decode_bundle(self.read_tile(ENTRIES_LEVEL, number, width))[:width]

    def read_tile(self, level: int | str, number: int, width: int) -> bytes:
        """Return a tile with at least `width` of its 256 hashes or entries; tiles only grow at the end."""
        cached = self._full_tiles.get((level, number))
        if cached is not None:
            return cached
        # Twice: a full tile may take the place of the partial ones between two looks.
        content = self._find_tile(level, number, width) or self._find_tile(level, number, width)
        if content is None:
            raise CorruptedError(
                f"the ledger lacks {tile_name(level, number, width)}", fix="restore it from a copy; do not retry"
            )
        return content

    def _find_tile(self, level: int | str, number: int, width: int) -> bytes | None:
        if width < TILE_WIDTH and (partial := self._read_if_present(tile_name(level, number, width))) is not None:
            return partial
        if (full := self._read_if_present(tile_name(level, number))) is None:
            wider = [stored for stored in partial_widths(self.paths, level, number) if stored >= width]
            return self._read_if_present(tile_name(level, number, wider[0])) if wider else None
        if level != ENTRIES_LEVEL:
            # Bundles are much larger than hashes, and are seldom read twice.
            if len(self._full_tiles) >= _MAX_CACHED_TILES:
                self._full_tiles.clear()
            self._full_tiles[level, number] = full
        return full

    def _read_if_present(self, name: str) -> bytes | None:
        try:
            return self.paths.read(name)
        except NotFound:
            return None

    def _range_hash(self, start: int, end: int, size: int) -> bytes:
        """Hash the entries from `start` to before `end`; `start` must be the left edge of a complete subtree."""
        count = end - start
        if count & (count - 1) == 0:
            return self._subtree_hash(count.bit_length() - 1, start >> (count.bit_length() - 1), size)
        middle = start + _largest_power_below(count)
        return merkle.hash_node(self._range_hash(start, middle, size), self._range_hash(middle, end, size))

    def _subtree_hash(self, height: int, index: int, size: int) -> bytes:
        """Return the hash of the complete subtree number `index` of 2^height entries."""
        level, tile_height = divmod(height, 8)
        number, first = divmod(index << tile_height, TILE_WIDTH)
        hashes = self.read_tile(level, number, min(TILE_WIDTH, (size >> 8 * level) - number * TILE_WIDTH))
        part = hashes[32 * first : 32 * (first + (1 << tile_height))]
        if len(part) != 32 << tile_height:
            raise CorruptedError(f"{tile_name(level, number)} of the ledger is cut short", fix="restore it from a copy")
        return merkle.compute_root(part[offset : offset + 32] for offset in range(0, len(part), 32))


def tile_name(level: int | str, number: int, width: int = TILE_WIDTH) -> str:
    """Name a tile: `tile/0/x001/x234/067`, or `tile/0/000.p/5` while it is partial."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03d}")
    return f"tile/{level}/{'/'.join(reversed(groups))}" + (f".p/{width}" if width < TILE_WIDTH else "")


def partial_widths(paths: NamedBlobStore, level: int | str, number: int) -> list[int]:
    """List the stored partial widths of a tile, smallest first."""
    folder = f"{tile_name(level, number)}.p"
    names = (path.rpartition("/")[2] for path in paths.list(folder))
    return sorted(int(name) for name in names if name.isdigit() and 0 < int(name) < TILE_WIDTH)


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Encode entries as a bundle: each after its length in two bytes, big-endian."""
    return b"".join(struct.pack(">H", len(entry)) + entry for entry in entries)


def decode_bundle(content: bytes) -> list[bytes]:
    """Decode a bundle. Raises CorruptedError."""
    entries: list[bytes] = []
    offset = 0
    while offset < len(content):
        length = int.from_bytes(content[offset : offset + 2], "big")
        if offset + 2 + length > len(content):
            raise CorruptedError(
                "an entry bundle of the ledger is cut short", fix="restore it from a copy; do not retry"
            )
        entries.append(content[offset + 2 : offset + 2 + length])
        offset += 2 + length
    return entries


def updated_tiles(tree: MerkleTree, old_size: int, leaves: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Compute the hash tiles that change when leaf hashes are added to `old_size` entries, lowest level first."""
    tiles: list[tuple[str, bytes]] = []
    level, start, new_hashes = 0, old_size, list(leaves)
    while new_hashes:
        number, existing_count = divmod(start, TILE_WIDTH)
        existing = tree.read_tile(level, number, existing_count)[: 32 * existing_count] if existing_count else b""
        hashes = [existing[offset : offset + 32] for offset in range(0, len(existing), 32)] + new_hashes
        for offset in range(0, len(hashes), TILE_WIDTH):
            part = hashes[offset : offset + TILE_WIDTH]
            tiles.append((tile_name(level, number + offset // TILE_WIDTH, len(part)), b"".join(part)))
        new_hashes = [
            merkle.compute_root(hashes[offset : offset + TILE_WIDTH])
            for offset in range(0, len(hashes) - TILE_WIDTH + 1, TILE_WIDTH)
        ]  # each full tile is one hash of the level above
        level, start = level + 1, number
    return tiles


def load_log_origin(paths: NamedBlobStore, project: str) -> str:
    """Return the log's name, created on first use: wellspring.example.com/PROJECT/8 random hex digits."""
    try:
        return paths.read(ORIGIN_FILE).decode().strip()
    except NotFound:
        paths.write_once(ORIGIN_FILE, f"{ORIGIN_HOST}/{project}/{secrets.token_hex(4)}".encode())
        return paths.read(ORIGIN_FILE).decode().strip()


def encode_hashes(hashes: Iterable[bytes]) -> list[str]:
    """Encode hashes in base64, as in proofs."""
    return [base64.b64encode(digest).decode() for digest in hashes]


def _largest_power_below(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
