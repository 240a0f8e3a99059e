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

from wellspring.errors import CorruptedError, NotFound
from wellspring.records.data import Edition, TableSnapshot
from wellspring.records.record import format_instant
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring_verify import canonical

EditionLevel = Literal["landed", "built"]


def build_edition(
    *,
    level: EditionLevel,
    parent: str | None,
    tables: Iterable[TableSnapshot],
    drops: Iterable[str],
    tenant: str,
    known_since: datetime,
) -> Edition:
    """Make an edition; its id follows from all the rest."""
    without_id = Edition(
        id="",
        level=level,
        parent=parent,
        tables=tuple(sorted(tables, key=lambda table: table.table)),
        drops=tuple(dict.fromkeys(drops)),
        tenant=tenant,
        known_since=known_since,
    )
    return without_id.model_copy(update={"id": edition_digest(without_id)[:12]})


def encode_edition(edition: Edition) -> bytes:
    """Write an edition as canonical JSON, without its id: the id is the beginning of the hash of these bytes."""
    value = edition.model_dump(mode="json", exclude={"id"})
    for table in value["tables"]:
        # A snapshot's number has 63 bits and a JSON number is exact to 53.
        table["snapshot_id"] = str(table["snapshot_id"])
    return canonical.dumps_canonical(value)


def edition_digest(edition: Edition) -> str:
    """Hash an edition: SHA-256 of its bytes, of which its id is the first 12 digits."""
    return hashlib.sha256(encode_edition(edition)).hexdigest()


def edition_facts(edition: Edition) -> dict[str, JsonValue]:
    """Say of an edition, in the entry of its publish, all that it takes to make it again."""
    return {
        "level": edition.level,
        "parent": edition.parent,
        "drops": list(edition.drops),
        "rows": {table_snapshot.table: table_snapshot.rows for table_snapshot in edition.tables},
        "tables": {table.table: str(table.snapshot_id) for table in edition.tables},
        "known_since": format_instant(edition.known_since),
    }


def edition_from_facts(tenant: str, facts: dict[str, JsonValue]) -> Edition:
    """Make an edition again from the entry of its publish. Raises Broken when the entry cannot be one."""
    tables, rows = facts.get("tables"), facts.get("rows")
    if not isinstance(tables, dict) or not isinstance(rows, dict) or tables.keys() != rows.keys():
        raise CorruptedError("the facts of a publish are not as it writes them", fix="stop; verify the ledger")
    without_id = Edition.model_validate(
        {
            **{name: facts.get(name) for name in ("known_since", "level", "parent", "drops")},
            "id": "",
            "tenant": tenant,
            "tables": [{"table": name, "snapshot_id": tables[name], "rows": rows[name]} for name in sorted(tables)],
        }
    )
    return without_id.model_copy(update={"id": edition_digest(without_id)[:12]})


class EditionStore:
    """The folder of editions: `ID.json`, write once, and the pointers `landed` and `built`."""

    def __init__(self, folder: Path) -> None:
        self._paths = DiskBlobStore(folder)
        # An edition never changes, so it is read once.
        self._cache: dict[str, Edition] = {}

    def save_edition(self, edition: Edition) -> None:
        """Write it down, durably; nobody is pointed to it yet."""
        self._paths.write_once(f"{edition.id}.json", encode_edition(edition))

    def set_pointer(self, edition: Edition) -> None:
        """Let readers of its level see it from now on."""
        self._paths.replace(edition.level, f"{edition.id}\n".encode())

    def latest_edition(self, level: EditionLevel = "landed") -> Edition | None:
        """Return what the pointer names, or None before the first one."""
        try:
            pointer = self._paths.read(level)
        except NotFound:
            return None
        return self.get_edition(pointer.decode(errors="replace").strip())

    def get_edition(self, edition_id: str) -> Edition:
        """Return an edition by id. Raises NotFound with the nearest id, Broken when its bytes are others."""
        if edition_id in self._cache:
            return self._cache[edition_id]
        try:
            content = self._paths.read(f"{edition_id}.json")
        except NotFound:
            edition_ids = [name.removesuffix(".json") for name in self._paths.list("") if name.endswith(".json")]
            matches = difflib.get_close_matches(edition_id, edition_ids, n=1)
            fix = f"did you mean {matches[0]}?" if matches else "list the editions that there are"
            raise NotFound(f"no edition {edition_id!r}", fix=fix) from None
        if hashlib.sha256(content).hexdigest()[:12] != edition_id:
            raise CorruptedError(
                f"edition {edition_id} no longer hashes to its name", fix="restore its file; do not retry"
            )
        edition = Edition.model_validate({"id": edition_id, **json.loads(content)}, strict=False)
        self._cache[edition_id] = edition
        return edition

    def list_history(self, level: EditionLevel = "landed") -> Iterator[Edition]:
        """Walk from the newest edition of a level back to its first."""
        edition = self.latest_edition(level)
        if level == "built":
            yield from self._built_history(edition) if edition is not None else ()
            return
        while edition is not None:
            yield edition
            edition = self.get_edition(edition.parent) if edition.parent else None

    def _built_history(self, latest: Edition) -> list[Edition]:
        """List the built editions that readers were ever pointed to: a built one's parent is the landed one."""
        stored_editions = [
            self.get_edition(name.removesuffix(".json")) for name in self._paths.list("") if name.endswith(".json")
        ]
        visible = [
            stored for stored in stored_editions if stored.level == "built" and stored.known_since <= latest.known_since
        ]
        return sorted(visible, key=lambda item: (item.id == latest.id, item.known_since, item.id), reverse=True)
