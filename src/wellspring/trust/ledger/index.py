"""Answers questions about the ledger from an SQLite file that can be made again from the tiles at any time."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pydantic import ValidationError

from wellspring.errors import Broken, NotFound, Unavailable
from wellspring.records.trust import Entry, Logged, Phase
from wellspring.trust.ledger.tree import WIDTH, Tree

_TABLES = """
create table if not exists entries (
  place integer primary key, id text not null unique, service text not null, sequence integer not null,
  subject text not null, action text not null, phase text not null, intent text, content blob not null
);
create index if not exists by_subject on entries (subject);
create index if not exists by_action on entries (action, phase);
create index if not exists by_service on entries (service, sequence);
create index if not exists by_intent on entries (intent) where intent is not null;
"""


class Index:
    """What stands in the tree, by subject, action, phase and id. One writer (the sequencer), any number of readers."""

    def __init__(self, path: Path, tree: Tree) -> None:
        self.tree = tree
        self._path = path

    def refresh(self) -> None:
        """Take in what the tree has and the index has not. Raises Broken if an entry stands in the tree twice."""
        try:
            self._take_in()
        except sqlite3.IntegrityError:
            raise Broken(
                "one entry stands in the ledger twice", fix="run `wellspring ledger verify`; keep everything"
            ) from None
        except sqlite3.OperationalError as wrong:
            raise Unavailable(f"the ledger's index cannot be written ({wrong})", fix="free the disk") from None
        except sqlite3.DatabaseError:
            self.rebuild()

    def rebuild(self) -> None:
        """Throw the index away and make it again from the tiles."""
        for one in (self._path, self._path.with_name(self._path.name + "-journal")):
            one.unlink(missing_ok=True)
        self._take_in()

    def entries(
        self, *, subject: str | None = None, action: str | None = None, phase: Phase | None = None
    ) -> list[Logged]:
        """List the entries that match all that is given, in the order of the tree."""
        asked = {"subject": subject, "action": action, "phase": phase}
        given = {name: value for name, value in asked.items() if value is not None}
        where = " and ".join(f"{name} = :{name}" for name in given) or "true"
        return self._logged(f"select place, content from entries where {where} order by place", given)  # noqa: S608 (our own names)

    def by_id(self, entry_id: str) -> Logged:
        """Return one entry (`service:sequence`). Raises NotFound."""
        found = self._logged("select place, content from entries where id = :id", {"id": entry_id})
        if not found:
            raise NotFound(f"the ledger has no entry {entry_id}", fix="see `wellspring ledger tail`")
        return found[0]

    def tail(self, n: int) -> list[Logged]:
        """List the newest n entries, oldest first."""
        return self._logged("select place, content from entries order by place desc limit :n", {"n": max(0, n)})[::-1]

    def open_intents(self) -> list[Logged]:
        """List the intents that no later entry settles: what a crash may have left half done."""
        return self._logged(
            "select place, content from entries as open where phase = 'intent'"
            " and not exists (select 1 from entries where intent = open.id and phase <> 'intent') order by place",
            {},
        )

    def last_sequence(self, service: str) -> int:
        """Return the newest sequence of a service's journal that stands in the tree; -1 if none does."""
        with self._reading() as file:
            found = file.execute("select max(sequence) from entries where service = ?", (service,)).fetchone()
        return -1 if found[0] is None else int(found[0])

    def subjects(self) -> list[str]:
        """List every subject, sorted."""
        with self._reading() as file:
            return [str(row[0]) for row in file.execute("select distinct subject from entries order by subject")]

    def raw(self) -> Iterator[tuple[int, bytes]]:
        """Yield (place, bytes) of each entry, for comparison with the tree."""
        with self._reading() as file:
            for place, content in file.execute("select place, content from entries order by place"):
                yield int(place), bytes(content)

    def _take_in(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        size = self.tree.size
        with closing(sqlite3.connect(self._path, timeout=10)) as file:
            file.executescript(_TABLES)
            with file:
                have = int(file.execute("select coalesce(max(place) + 1, 0) from entries").fetchone()[0])
                if have > size:
                    # The index follows the tree, also backwards: the witness, not the index, catches a rollback.
                    file.execute("delete from entries where place >= ?", (size,))
                for number in range(have // WIDTH, -(-size // WIDTH)):
                    for place, content in enumerate(self.tree.bundle(number, size), start=number * WIDTH):
                        if place >= have:
                            file.execute("insert into entries values (?, ?, ?, ?, ?, ?, ?, ?, ?)", _row(place, content))

    def _logged(self, question: str, given: dict[str, str] | dict[str, int]) -> list[Logged]:
        with self._reading() as file:
            return [Logged(index=int(place), entry=parse(content)) for place, content in file.execute(question, given)]

    @contextmanager
    def _reading(self) -> Generator[sqlite3.Connection]:
        try:
            if not self._path.exists() and self.tree.size == 0:
                with closing(sqlite3.connect(":memory:")) as empty:
                    empty.executescript(_TABLES)
                    yield empty
                return
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=10)) as file:
                yield file
        except sqlite3.DatabaseError as wrong:
            raise Unavailable(
                f"the ledger's index cannot be read ({wrong})", fix="run `wellspring receive`: it makes the index again"
            ) from None


def parse(content: bytes) -> Entry:
    """Read the bytes of an entry. Raises Broken."""
    try:
        return Entry.model_validate_json(content)
    except ValidationError:
        raise Broken(
            "an entry of the ledger cannot be read", fix="run `wellspring ledger verify`; keep everything"
        ) from None


def _row(place: int, content: bytes) -> tuple[int | str | bytes | None, ...]:
    entry = parse(content)
    return (
        place,
        entry.id,
        entry.service,
        entry.sequence,
        entry.subject,
        entry.action,
        entry.phase,
        entry.intent,
        content,
    )
