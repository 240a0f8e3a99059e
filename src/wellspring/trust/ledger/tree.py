"""The Merkle tree over the ledger's entries, read from its tiles: roots, proofs and entries of any size.

Format: C2SP tlog-tiles. `tile/<L>/<N>` holds 256 hashes of level 8 L, `tile/entries/<N>` the 256 entries below
tile N of level 0; `.p/<W>` is a tile that has only W of them yet.
"""

from __future__ import annotations

import base64
import secrets
import struct
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from wellspring.errors import Broken, NotFound
from wellspring.stores.objects.port import Paths
from wellspring_verify import merkle, notes
from wellspring_verify.canonical import Malformed

CHECKPOINT, ORIGIN, LOG_KEY = "checkpoint", "origin", "vkey"
HOST = "wellspring.example.com"
WIDTH = 256
ENTRIES = "entries"
_KEPT = 512


class Checkpoint(NamedTuple):
    """A signed head of the tree. note: its bytes, with the log's and the witness's signature lines."""

    size: int
    root: bytes
    note: bytes


class Tree:
    """The tree as its last checkpoint says, on any `Paths`. Reads only; nothing is trusted: `audit` checks it."""

    def __init__(self, paths: Paths) -> None:
        self.paths = paths
        self._full: dict[tuple[int | str, int], bytes] = {}

    @property
    def size(self) -> int:
        """Entries under the current checkpoint; 0 before the first one."""
        try:
            return self.head().size
        except NotFound:
            return 0

    def checkpoint(self) -> bytes:
        """Return the current checkpoint, a signed note. Raises NotFound before the first one."""
        return self.paths.read(CHECKPOINT)

    def head(self) -> notes.Head:
        """Read what the current checkpoint says; signatures are not looked at. Raises NotFound, Broken."""
        try:
            return notes.parse_head(notes.parse(self.checkpoint()).text)
        except Malformed as wrong:
            raise Broken(f"the ledger's checkpoint is damaged: {wrong}", fix="compare it with the witness") from None

    def root(self, size: int) -> bytes:
        """Return the root of the tree's first `size` entries."""
        return self._range(0, size, size) if size else merkle.EMPTY

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """Prove that entry `index` stands in the tree of `size` entries."""
        if not 0 <= index < size:
            raise NotFound(f"the tree of {size} entries has no entry {index}", fix="entries are counted from 0")
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._range(middle, end, size))
                end = middle
            else:
                proof.append(self._range(start, middle, size))
                start = middle
        return proof[::-1]

    def consistency(self, old: int, new: int) -> list[bytes]:
        """Prove that the tree of `old` entries is the beginning of the tree of `new` ones."""
        if not 0 <= old <= new:
            raise NotFound(f"a tree of {old} entries is not older than one of {new}", fix="name the older one first")
        if old in (0, new):
            return []
        proof: list[bytes] = []
        start, end, whole = 0, new, True
        while old != end:
            middle = start + _split(end - start)
            if old <= middle:
                proof.append(self._range(middle, end, new))
                end = middle
            else:
                proof.append(self._range(start, middle, new))
                start, whole = middle, False
        return ([] if whole else [self._range(start, end, new)]) + proof[::-1]

    def entry(self, index: int) -> bytes:
        """Return the bytes of one entry. Raises NotFound beyond the checkpoint."""
        size = self.size
        if not 0 <= index < size:
            raise NotFound(f"the ledger has {size} entries, and no entry {index}", fix="entries are counted from 0")
        return self.bundle(index // WIDTH, size)[index % WIDTH]

    def bundle(self, number: int, size: int) -> list[bytes]:
        """Return the entries of one bundle that lie in the tree of `size` entries."""
        width = min(WIDTH, size - number * WIDTH)
        return unbundle(self.tile(ENTRIES, number, width))[:width]

    def tile(self, level: int | str, number: int, width: int) -> bytes:
        """Return a tile that has at least `width` of its 256 parts: they only ever grow at the end."""
        kept = self._full.get((level, number))
        if kept is not None:
            return kept
        if width < WIDTH:
            try:
                return self.paths.read(name(level, number, width))
            except NotFound:
                pass  # It has grown since, and the smaller one was removed.
        try:
            content = self.paths.read(name(level, number))
        except NotFound:
            wide = [one for one in widths(self.paths, level, number) if one >= width]
            if not wide:
                raise Broken(
                    f"the ledger lacks {name(level, number, width)}", fix="restore it from a copy; do not retry"
                ) from None
            return self.paths.read(name(level, number, min(wide)))
        if len(self._full) >= _KEPT:
            self._full.clear()
        self._full[level, number] = content
        return content

    def _range(self, start: int, end: int, size: int) -> bytes:
        """Hash the entries from `start` to before `end`, where `start` is the left edge of a complete subtree."""
        count = end - start
        if count & (count - 1) == 0:
            return self._node(count.bit_length() - 1, start >> (count.bit_length() - 1), size)
        middle = start + _split(count)
        return merkle.node(self._range(start, middle, size), self._range(middle, end, size))

    def _node(self, height: int, index: int, size: int) -> bytes:
        """Return the hash of a complete subtree: 2^height entries, the index-th of its kind."""
        level, inside = divmod(height, 8)
        number, first = divmod(index << inside, WIDTH)
        hashes = self.tile(level, number, min(WIDTH, (size >> 8 * level) - number * WIDTH))
        part = hashes[32 * first : 32 * (first + (1 << inside))]
        if len(part) != 32 << inside:
            raise Broken(f"{name(level, number)} of the ledger is cut short", fix="restore it from a copy")
        return merkle.root(part[at : at + 32] for at in range(0, len(part), 32))


def name(level: int | str, number: int, width: int = WIDTH) -> str:
    """Name a tile: `tile/0/x001/x234/067`, or `tile/0/000.p/5` while it is partial."""
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.append(f"x{number % 1000:03d}")
    return f"tile/{level}/{'/'.join(reversed(groups))}" + (f".p/{width}" if width < WIDTH else "")


def widths(paths: Paths, level: int | str, number: int) -> list[int]:
    """List the partial widths of a tile that are kept, smallest first."""
    folder = f"{name(level, number)}.p"
    found = (one.rpartition("/")[2] for one in paths.list(folder))
    return sorted(int(one) for one in found if one.isdigit() and 0 < int(one) < WIDTH)


def bundle(entries: Iterable[bytes]) -> bytes:
    """Write entries as a bundle: each after its length in two bytes, big-endian."""
    return b"".join(struct.pack(">H", len(one)) + one for one in entries)


def unbundle(content: bytes) -> list[bytes]:
    """Read a bundle. Raises Broken."""
    entries: list[bytes] = []
    at = 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 2], "big")
        if at + 2 + length > len(content):
            raise Broken("an entry bundle of the ledger is cut short", fix="restore it from a copy; do not retry")
        entries.append(content[at + 2 : at + 2 + length])
        at += 2 + length
    return entries


def grown(tree: Tree, old: int, leaves: Sequence[bytes]) -> list[tuple[str, bytes]]:
    """Compute the hash tiles that change when these leaf hashes follow the first `old` entries, lowest level first."""
    tiles: list[tuple[str, bytes]] = []
    level, start, fresh = 0, old, list(leaves)
    while fresh:
        number, have = divmod(start, WIDTH)
        before = tree.tile(level, number, have)[: 32 * have] if have else b""
        hashes = [before[at : at + 32] for at in range(0, len(before), 32)] + fresh
        for at in range(0, len(hashes), WIDTH):
            part = hashes[at : at + WIDTH]
            tiles.append((name(level, number + at // WIDTH, len(part)), b"".join(part)))
        fresh = [
            merkle.root(hashes[at : at + WIDTH]) for at in range(0, len(hashes) - WIDTH + 1, WIDTH)
        ]  # each full tile is one hash of the level above
        level, start = level + 1, number
    return tiles


def origin(paths: Paths, project: str) -> str:
    """Return the log's name, made up on first use: wellspring.example.com/PROJECT/8 random hex digits."""
    try:
        return paths.read(ORIGIN).decode().strip()
    except NotFound:
        paths.write_once(ORIGIN, f"{HOST}/{project}/{secrets.token_hex(4)}".encode())
        return paths.read(ORIGIN).decode().strip()


def encoded(hashes: Iterable[bytes]) -> list[str]:
    """Write hashes as base64, as proofs are sent and kept."""
    return [base64.b64encode(one).decode() for one in hashes]


def _split(count: int) -> int:
    """Return the largest power of two below `count`."""
    return 1 << (count - 1).bit_length() - 1
