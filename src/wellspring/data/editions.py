"""Editions: one small file each, named by its own bytes, and one pointer a level that is swapped last."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from wellspring.errors import Broken, NotFound
from wellspring.records.data import Edition, Snapshot
from wellspring.records.record import stamp
from wellspring.stores.objects.disk import DiskPaths
from wellspring_verify import canonical

Level = Literal["landed", "built"]


def compose(
    *,
    level: Level,
    parent: str | None,
    tables: Iterable[Snapshot],
    drops: Iterable[str],
    tenant: str,
    known_since: datetime,
) -> Edition:
    """Make an edition; its id follows from all the rest."""
    unnamed = Edition(
        id="",
        level=level,
        parent=parent,
        tables=tuple(sorted(tables, key=lambda each: each.table)),
        drops=tuple(dict.fromkeys(drops)),
        tenant=tenant,
        known_since=known_since,
    )
    return unnamed.model_copy(update={"id": digest(unnamed)[:12]})


def encode(edition: Edition) -> bytes:
    """Write an edition as canonical JSON, without its id: the id is the beginning of the hash of these bytes."""
    value = edition.model_dump(mode="json", exclude={"id"})
    for table in value["tables"]:
        # A snapshot's number has 63 bits and a JSON number is exact to 53.
        table["snapshot_id"] = str(table["snapshot_id"])
    return canonical.dumps(value)


def digest(edition: Edition) -> str:
    """Hash an edition: SHA-256 of its bytes, of which its id is the first 12 digits."""
    return hashlib.sha256(encode(edition)).hexdigest()


def facts(edition: Edition) -> dict[str, JsonValue]:
    """Say of an edition, in the entry of its publish, all that it takes to make it again."""
    return {
        "level": edition.level,
        "parent": edition.parent,
        "drops": list(edition.drops),
        "rows": {each.table: each.rows for each in edition.tables},
        "tables": {each.table: str(each.snapshot_id) for each in edition.tables},
        "known_since": stamp(edition.known_since),
    }


def from_facts(tenant: str, said: dict[str, JsonValue]) -> Edition:
    """Make an edition again from the entry of its publish. Raises Broken when the entry cannot be one."""
    tables, rows = said.get("tables"), said.get("rows")
    if not isinstance(tables, dict) or not isinstance(rows, dict) or tables.keys() != rows.keys():
        raise Broken("the facts of a publish are not as it writes them", fix="stop; verify the ledger")
    unnamed = Edition.model_validate(
        {
            **{name: said.get(name) for name in ("known_since", "level", "parent", "drops")},
            "id": "",
            "tenant": tenant,
            "tables": [{"table": name, "snapshot_id": tables[name], "rows": rows[name]} for name in sorted(tables)],
        }
    )
    return unnamed.model_copy(update={"id": digest(unnamed)[:12]})


class Editions:
    """The folder of editions: `ID.json`, write once, and the pointers `landed` and `built`."""

    def __init__(self, folder: Path) -> None:
        self._paths = DiskPaths(folder)
        # An edition never changes, so it is read once.
        self._read: dict[str, Edition] = {}

    def keep(self, edition: Edition) -> None:
        """Write it down, durably; nobody is pointed to it yet."""
        self._paths.write_once(f"{edition.id}.json", encode(edition))

    def point(self, edition: Edition) -> None:
        """Let readers of its level see it from now on."""
        self._paths.swap(edition.level, f"{edition.id}\n".encode())

    def newest(self, level: Level = "landed") -> Edition | None:
        """Return what the pointer names, or None before the first one."""
        try:
            pointed = self._paths.read(level)
        except NotFound:
            return None
        return self.get(pointed.decode(errors="replace").strip())

    def get(self, edition_id: str) -> Edition:
        """Return an edition by id. Raises NotFound with the nearest id, Broken when its bytes are others."""
        if edition_id in self._read:
            return self._read[edition_id]
        try:
            content = self._paths.read(f"{edition_id}.json")
        except NotFound:
            known = [name.removesuffix(".json") for name in self._paths.list("") if name.endswith(".json")]
            close = difflib.get_close_matches(edition_id, known, n=1)
            fix = f"did you mean {close[0]}?" if close else "list the editions that there are"
            raise NotFound(f"no edition {edition_id!r}", fix=fix) from None
        if hashlib.sha256(content).hexdigest()[:12] != edition_id:
            raise Broken(f"edition {edition_id} no longer hashes to its name", fix="restore its file; do not retry")
        edition = Edition.model_validate({"id": edition_id, **json.loads(content)}, strict=False)
        self._read[edition_id] = edition
        return edition

    def history(self, level: Level = "landed") -> Iterator[Edition]:
        """Walk from the newest edition of a level back to its first."""
        edition = self.newest(level)
        if level == "built":
            yield from self._built_until(edition) if edition is not None else ()
            return
        while edition is not None:
            yield edition
            edition = self.get(edition.parent) if edition.parent else None

    def _built_until(self, newest: Edition) -> list[Edition]:
        """List the built editions that readers were ever pointed to: a built one's parent is the landed one."""
        known = [self.get(name.removesuffix(".json")) for name in self._paths.list("") if name.endswith(".json")]
        older = [each for each in known if each.level == "built" and each.known_since <= newest.known_since]
        return sorted(older, key=lambda each: (each.id == newest.id, each.known_since, each.id), reverse=True)
