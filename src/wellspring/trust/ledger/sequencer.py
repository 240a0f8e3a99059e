"""Gives journalled entries their place in the tree, each exactly once, and has the result signed and witnessed."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from wellspring.errors import Broken, NotFound
from wellspring.records.clock import Clock
from wellspring.records.trust import Entry
from wellspring.stores.objects.port import Paths
from wellspring.trust.keys.port import Signer
from wellspring.trust.ledger import journal
from wellspring.trust.ledger.cosigner import Cosigner, cosign
from wellspring.trust.ledger.index import Index, parse
from wellspring.trust.ledger.tree import (
    CHECKPOINT,
    ENTRIES,
    LOG_KEY,
    WIDTH,
    Checkpoint,
    Tree,
    bundle,
    grown,
    name,
    unbundle,
    widths,
)
from wellspring_verify import merkle, notes


class _Line(NamedTuple):
    when: float
    service: str
    sequence: int
    content: bytes


class Sequencer:
    """Integrates the journals into the tree. One at a time: its caller holds the house's writer lock.

    A crash anywhere is mended by the next run. Entry bundles are written first and once; those that lie beyond the
    checkpoint are adopted as they are, so an entry keeps the place it was given, and what was signed stays true.
    """

    def __init__(
        self,
        *,
        paths: Paths,
        journals: Path,
        origin: str,
        signer: Signer,
        witness: Cosigner,
        index: Index,
        clock: Clock,
        reached: Callable[[str], None],
    ) -> None:
        self._paths = paths
        self._journals = journals
        self._origin = origin
        self._signer = signer
        self._witness = witness
        self._index = index
        self._clock = clock
        self._reached = reached
        self._tree = Tree(paths)
        self._key: notes.Key | None = None

    def vkey(self) -> str:
        """Return the log's verifier key, and keep it beside the tiles for whoever asks when nothing runs."""
        if self._key is None:
            self._key = notes.Key(self._origin, notes.LOG, self._signer.public_key())
            self._paths.write_once(LOG_KEY, f"{self._key}\n".encode())
        return str(self._key)

    def integrate(self) -> Checkpoint:
        """Take in what the journals hold and return the newest checkpoint, signed and cosigned.

        Raises Unavailable when signer or witness do not answer (nothing is lost: run it again), Broken when journals,
        tiles, checkpoint or witness contradict each other.
        """
        key = notes.parse_key(self.vkey())
        published = self._published(key)
        size = published.size if published else 0
        self._index.refresh()
        adopted = self._adopt(size)
        fresh = adopted + self._fresh(adopted)
        if published and not fresh:
            return published
        leaves = [merkle.leaf(one) for one in fresh]
        self._write_bundles(size, fresh)
        self._reached("ledger.integrate:bundles-written")
        for tile, content in grown(self._tree, size, leaves):
            self._paths.write_once(tile, content)
        self._remove_partials(size, size + len(fresh))
        self._reached("ledger.integrate:tiles-written")
        return self._publish(key, published, size + len(fresh))

    def _publish(self, key: notes.Key, published: Checkpoint | None, size: int) -> Checkpoint:
        head = notes.Head(self._origin, size, self._tree.root(size))
        text = head.text()
        signature = notes.Signature(key.name, key.id, self._signer.sign(text))
        if not notes.signs(signature, key, text):
            raise Broken("the signer's signature does not fit its own public key", fix="stop; look at the key server")
        self._reached("ledger.integrate:signed")
        note = text + b"\n" + signature.line()
        line = cosign(
            self._witness,
            head=head,
            note=note,
            published=published.note if published else None,
            prove=self._tree.consistency,
        )
        self._reached("ledger.integrate:cosigned")
        self._paths.swap(CHECKPOINT, note + line)
        self._reached("ledger.integrate:checkpoint-swapped")
        self._index.refresh()
        return Checkpoint(head.size, head.root, note + line)

    def _published(self, key: notes.Key) -> Checkpoint | None:
        try:
            note = self._tree.checkpoint()
        except NotFound:
            return None
        head = self._tree.head()
        if head.origin != self._origin or not any(
            notes.signs(one, key, head.text()) for one in notes.parse(note).signatures
        ):
            raise Broken("the ledger's checkpoint is not signed by its own key", fix="compare it with the witness")
        if self._tree.root(head.size) != head.root:
            raise Broken("the ledger's tiles do not hash to its checkpoint", fix="run `wellspring ledger verify`")
        return Checkpoint(head.size, head.root, note)

    def _adopt(self, size: int) -> list[bytes]:
        """Return the entries that a run before this one placed beyond the checkpoint, and could not publish."""
        adopted: list[bytes] = []
        number, have = divmod(size, WIDTH)
        while True:
            try:
                content = self._paths.read(name(ENTRIES, number))
            except NotFound:
                wider = [one for one in widths(self._paths, ENTRIES, number) if one > have]
                if not wider:
                    return adopted
                content = self._paths.read(name(ENTRIES, number, wider[-1]))
            entries = unbundle(content)
            adopted += entries[have:]
            if len(entries) < WIDTH:
                return adopted
            number, have = number + 1, 0

    def _fresh(self, adopted: list[bytes]) -> list[bytes]:
        last: dict[str, int] = {}
        for content in adopted:
            entry = parse(content)
            self._follows(entry, last)
            written = next(journal.read(self._journals, entry.service, entry.sequence - 1), None)
            if written != (entry.sequence, content):
                raise Broken(
                    f"a bundle beyond the checkpoint holds {entry.id}, and the journal of {entry.service} does not",
                    fix="keep everything; somebody else wrote into the ledger's folder",
                )
            last[entry.service] = entry.sequence
        waiting = [self._lines(service, last) for service in journal.services(self._journals)]
        # By time across services; within one, always in the order of its journal.
        return [line.content for line in heapq.merge(*waiting, key=lambda line: line.when)]

    def _lines(self, service: str, adopted: dict[str, int]) -> Iterator[_Line]:
        last = adopted.get(service, self._index.last_sequence(service))
        latest = 0.0
        for sequence, content in journal.read(self._journals, service, last):
            entry = parse(content)
            if (entry.service, entry.sequence) != (service, sequence) or journal.content(entry) != content:
                raise Broken(
                    f"line {sequence} of the journal of {service} is not the entry that was written there",
                    fix="keep the journal; run `wellspring ledger verify`",
                )
            latest = max(latest, entry.known_since.timestamp())
            yield _Line(latest, service, sequence, content)

    def _follows(self, entry: Entry, last: dict[str, int]) -> None:
        before = last.get(entry.service, self._index.last_sequence(entry.service))
        if entry.sequence != before + 1:
            raise Broken(
                f"the ledger holds {entry.id} where entry {before + 1} of {entry.service} belongs",
                fix="keep everything; run `wellspring ledger verify`",
            )

    def _write_bundles(self, size: int, fresh: list[bytes]) -> None:
        number, have = divmod(size, WIDTH)
        before = self._tree.bundle(number, size) if have else []
        entries = before + fresh
        for at in range(0, len(entries), WIDTH):
            part = entries[at : at + WIDTH]
            self._paths.write_once(name(ENTRIES, number + at // WIDTH, len(part)), bundle(part))

    def _remove_partials(self, old: int, new: int) -> None:
        """Remove the partial tiles whose full one stands now; readers of older checkpoints take the full one."""
        levels: list[tuple[int | str, int, int]] = [(ENTRIES, old, new)]
        levels += [(level, old >> 8 * level, new >> 8 * level) for level in range(8)]
        for level, before, after in levels:
            for number in range(before // WIDTH, after // WIDTH):
                for width in widths(self._paths, level, number):
                    self._paths.remove(name(level, number, width))
