"""Checks the whole ledger: every byte from the entries up, against checkpoint, journals, index and witness."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wellspring.errors import Broken, NotFound, WellspringError
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.index import Index, parse
from wellspring.trust.ledger.keyring import Keys
from wellspring.trust.ledger.tree import ENTRIES, WIDTH, Tree, bundle, name, unbundle
from wellspring_verify import merkle, notes
from wellspring_verify.canonical import Malformed


def audit(
    tree: Tree, keys: Keys | None = None, *, journals: Path | None = None, index: Index | None = None
) -> tuple[str, ...]:
    """Recompute the tree from its entries and say everything that does not fit; nothing said means all holds.

    keys: the verifier keys and the witness's own copy. journals, index: compared with the tree where given.
    """
    found = _Findings()
    try:
        note = tree.checkpoint()
    except NotFound:
        if keys and keys.seen:
            return ("checkpoint: it is missing, and the witness has cosigned one: the ledger was removed",)
        return ()
    try:
        parsed = notes.parse(note)
        head = notes.parse_head(parsed.text)
    except Malformed as wrong:
        return (f"checkpoint: {wrong}",)
    leaves = found.entries(tree, head.size)
    found.tiles(tree, leaves)
    if len(leaves) == head.size and merkle.root(leaves) != head.root:
        found.say("checkpoint: its root is not that of the entries: an entry or the checkpoint was changed")
    if keys:
        found.signatures(parsed, head, keys)
        found.witness(head, leaves, keys)
    if journals:
        found.journals(journals)
    if index:
        found.index(index, leaves)
    return tuple(found.said)


class _Findings:
    def __init__(self) -> None:
        self.said: list[str] = []
        self._places: dict[tuple[str, int], bytes] = {}

    def say(self, what: str) -> None:
        self.said.append(what)

    def entries(self, tree: Tree, size: int) -> list[bytes]:
        """Hash every entry; check its form, and that each service's entries follow each other from 0."""
        leaves: list[bytes] = []
        last: dict[str, int] = {}
        for number in range(-(-size // WIDTH)):
            where = name(ENTRIES, number, min(WIDTH, size - number * WIDTH))
            try:
                kept = unbundle(_exact(tree, ENTRIES, number, min(WIDTH, size - number * WIDTH)))
            except Broken as wrong:
                self.say(f"{where}: {wrong.what}")
                return leaves
            if len(kept) != min(WIDTH, size - number * WIDTH):
                self.say(f"{where}: it holds {len(kept)} entries: it was cut, or something was added")
                return leaves
            for content in kept:
                leaves.append(merkle.leaf(content))
                self._entry(content, len(leaves) - 1, where, last)
        return leaves

    def _entry(self, content: bytes, place: int, where: str, last: dict[str, int]) -> None:
        try:
            entry = parse(content)
            if journal.content(entry) != content:
                self.say(f"{where}: entry {place} is not in the canonical form")
        except WellspringError:
            self.say(f"{where}: entry {place} cannot be read")
            return
        expected = last.get(entry.service, -1) + 1
        if entry.sequence != expected:
            self.say(f"{where}: entry {place} is {entry.id}, and {entry.service}:{expected} belongs there")
        last[entry.service] = entry.sequence
        self._places[entry.service, entry.sequence] = merkle.leaf(content)

    def tiles(self, tree: Tree, leaves: list[bytes]) -> None:
        """Compare every hash tile with the hashes of the entries."""
        level, hashes = 0, leaves
        while hashes:
            for at in range(0, len(hashes), WIDTH):
                part = b"".join(hashes[at : at + WIDTH])
                where = name(level, at // WIDTH, len(part) // 32)
                try:
                    kept = _exact(tree, level, at // WIDTH, len(part) // 32)
                except Broken as wrong:
                    self.say(f"{where}: {wrong.what}")
                    continue
                if kept != part:
                    self.say(f"{where}: it does not hold the hashes of its entries: one of both was changed")
            level, hashes = level + 1, list(_parents(hashes))

    def signatures(self, parsed: notes.Note, head: notes.Head, keys: Keys) -> None:
        log, witness = notes.parse_key(keys.log), notes.parse_key(keys.witness)
        if log.name != head.origin:
            self.say(f"checkpoint: it is of the log {head.origin}, and the key is of {log.name}")
        if keys.registered is not None and keys.registered != keys.log:
            self.say("vkey: the witness was told another key of this log: one of both was exchanged")
        for who, key in (("log", log), ("witness", witness)):
            if not any(notes.signs(one, key, parsed.text) for one in parsed.signatures):
                self.say(f"checkpoint: the signature of the {who} {key.name} is missing, or does not hold")

    def witness(self, head: notes.Head, leaves: list[bytes], keys: Keys) -> None:
        """Compare with the witness's own copy: it must be this tree, or the beginning of it."""
        if keys.seen is None:
            self.say("witness: it has not seen this log, though the checkpoint is cosigned: its folder was exchanged")
            return
        try:
            copy = notes.parse_head(notes.parse(keys.seen).text)
        except Malformed as wrong:
            self.say(f"witness: its copy is damaged: {wrong}")
            return
        if copy.size > head.size:
            self.say(
                f"checkpoint: it has {head.size} entries, and the witness has seen {copy.size}: the ledger's tail was "
                "cut, or it was rolled back (if a crash came just now, `wellspring receive` mends it)"
            )
        elif len(leaves) == head.size and merkle.root(leaves[: copy.size]) != copy.root:
            self.say(f"checkpoint: its first {copy.size} entries are not those that the witness has seen: a fork")
        elif copy.size < head.size:
            self.say(f"witness: it has seen only {copy.size} of {head.size} published entries: it was rolled back")

    def journals(self, folder: Path) -> None:
        """Compare every entry that is in the tree with the journal it came from."""
        kept: set[tuple[str, int]] = set()
        for service in journal.services(folder):
            try:
                for sequence, content in journal.read(folder, service):
                    place = (service, sequence)
                    kept.add(place)
                    if place in self._places and self._places[place] != merkle.leaf(content):
                        self.say(f"journals/{service}: line {sequence} is not the entry that stands in the tree")
            except Broken as wrong:
                self.say(f"journals/{service}: {wrong.what}")
        for service, sequence in sorted(self._places.keys() - kept):
            self.say(f"journals/{service}: line {sequence} stands in the tree, and is gone from the journal")

    def index(self, index: Index, leaves: list[bytes]) -> None:
        try:
            kept = {place: merkle.leaf(content) for place, content in index.raw()}
        except WellspringError as wrong:
            self.say(f"index.sqlite: {wrong.what}")
            return
        if kept != dict(enumerate(leaves)):
            self.say("index.sqlite: it does not hold what the tree holds: remove it, and it is made again")


def _exact(tree: Tree, level: int | str, number: int, width: int) -> bytes:
    """Read a tile as it lies there; of one that has grown since, the part that this tree has."""
    try:
        return tree.paths.read(name(level, number, width))
    except NotFound:
        content = tree.tile(level, number, width)
        return bundle(unbundle(content)[:width]) if level == ENTRIES else content[: 32 * width]


def _parents(hashes: list[bytes]) -> Iterator[bytes]:
    for at in range(0, len(hashes) - WIDTH + 1, WIDTH):
        yield merkle.root(hashes[at : at + WIDTH])
