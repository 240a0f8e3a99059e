"""Editions: named, immutable sets of table snapshots. One JSON file per edition, one pointer file per level.

An edition's id is the beginning of the hash of its file. The pointer is replaced last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import JsonValue

from wellspring.errors import CorruptedError, NotFound, suggest_name
from wellspring.records.lake import Edition, TableSnapshot
from wellspring.records.record import Digest, format_instant
from wellspring.stores.objects.disk import DiskBlobStore
from wellspring.stores.records import RecordKind, RecordStore
from wellspring_verify import canonical

EditionLevel = Literal["landed", "built"]
_RETIRED_FOLDER = "retired"


def build_edition(
    *,
    level: EditionLevel,
    parent: str | None,
    tables: Iterable[TableSnapshot],
    drops: Iterable[str],
    tenant: str,
    known_since: datetime,
) -> Edition:
    """Build an edition; its id is derived from all other fields."""
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
    """Encode an edition as canonical JSON, without its id: the id is the beginning of the hash of these bytes."""
    value = edition.model_dump(mode="json", exclude={"id"})
    for table in value["tables"]:
        # A snapshot id has 63 bits; a JSON number is exact to 53 bits.
        table["snapshot_id"] = str(table["snapshot_id"])
        # Editions of earlier versions pin no files; their bytes, and so their ids, stay what they were.
        if not table["files"]:
            del table["files"]
    return canonical.dumps_canonical(value)


def edition_digest(edition: Edition) -> str:
    """Hash an edition: SHA-256 of its encoded bytes; the first 12 hex digits are its id."""
    return hashlib.sha256(encode_edition(edition)).hexdigest()


def edition_facts(edition: Edition) -> dict[str, JsonValue]:
    """Return the facts of an edition's publish entry; `edition_from_facts` rebuilds the edition from them."""
    return {
        "level": edition.level,
        "parent": edition.parent,
        "drops": list(edition.drops),
        "rows": {table_snapshot.table: table_snapshot.rows for table_snapshot in edition.tables},
        "tables": {table.table: str(table.snapshot_id) for table in edition.tables},
        "files": {table.table: table.files for table in edition.tables if table.files},
        "known_since": format_instant(edition.known_since),
    }


def edition_from_facts(tenant: str, facts: dict[str, JsonValue]) -> Edition:
    """Rebuild an edition from the facts of its publish entry. Raises CorruptedError when the facts are invalid."""
    tables, rows, files = facts.get("tables"), facts.get("rows"), facts.get("files", {})
    if (
        not isinstance(tables, dict)
        or not isinstance(rows, dict)
        or not isinstance(files, dict)
        or tables.keys() != rows.keys()
    ):
        raise CorruptedError("the facts of a publish entry are invalid", fix="stop; verify the ledger")
    without_id = Edition.model_validate(
        {
            **{name: facts.get(name) for name in ("known_since", "level", "parent", "drops")},
            "id": "",
            "tenant": tenant,
            "tables": [
                {"table": name, "snapshot_id": tables[name], "rows": rows[name], "files": files.get(name, "")}
                for name in sorted(tables)
            ],
        }
    )
    return without_id.model_copy(update={"id": edition_digest(without_id)[:12]})


def find_table_snapshot(edition: Edition, name: str) -> TableSnapshot:
    """Return the snapshot of a table in an edition. Raises NotFound with the nearest table."""
    for table_snapshot in edition.tables:
        if table_snapshot.table == name:
            return table_snapshot
    raise NotFound(
        f"edition {edition.id} has no table {name!r}", fix=suggest_name(name, [table.table for table in edition.tables])
    )


def _decode_edition(edition_id: str, content: bytes) -> Edition:
    return Edition.model_validate({"id": edition_id, **json.loads(content)}, strict=False)


def _transform_pointer(transform: Digest) -> str:
    return f"built-{transform[:16]}"


_EDITION_KIND = RecordKind("edition", encode_edition, _decode_edition, missing_fix="use the id of an existing edition")


class EditionStore:
    """The folder of editions: `ID.json`, written once, and the pointers `landed`, `built` and `built-TRANSFORM`.

    `retired/ID` marks an edition whose own files are removed.
    """

    def __init__(self, folder: Path) -> None:
        self._blobs = DiskBlobStore(folder)
        self._records = RecordStore(self._blobs, _EDITION_KIND)
        # Editions are immutable, so each file is read once.
        self._cache: dict[str, Edition] = {}

    def save_edition(self, edition: Edition) -> None:
        """Write an edition durably; the pointer does not change."""
        self._records.save(edition)

    def set_pointer(self, edition: Edition) -> None:
        """Point readers of the edition's level to it."""
        self._records.set_pointer(edition.level, edition.id)

    def latest_edition(self, level: EditionLevel = "landed") -> Edition | None:
        """Return the edition that the pointer names, or None before the first edition."""
        edition_id = self._records.read_pointer(level)
        return self.get_edition(edition_id) if edition_id is not None else None

    def set_transform_pointer(self, edition: Edition, transform: Digest) -> None:
        """Point readers of one transform to the edition that it built last. transform: the digest of its code."""
        self._records.set_pointer(_transform_pointer(transform), edition.id)

    def latest_of_transform(self, transform: Digest) -> Edition | None:
        """Return the edition that a transform built last, or None before the first, and if that was retired."""
        edition_id = self._records.read_pointer(_transform_pointer(transform))
        return self.get_edition(edition_id) if edition_id is not None and not self.is_retired(edition_id) else None

    def get_edition(self, edition_id: str) -> Edition:
        """Return an edition by id. Raises NotFound with the nearest id, CorruptedError when the file was changed."""
        if edition_id not in self._cache:
            self._cache[edition_id] = self._records.get(edition_id)
        return self._cache[edition_id]

    def mark_retired(self, edition_id: str) -> None:
        """Mark an edition as retired: its own data files are removed, and nobody reads it any more; idempotent."""
        self._blobs.write_once(f"{_RETIRED_FOLDER}/{edition_id}", b"")

    def is_retired(self, edition_id: str) -> bool:
        """Return whether an edition was retired."""
        try:
            self._blobs.read(f"{_RETIRED_FOLDER}/{edition_id}")
        except NotFound:
            return False
        return True

    def require_readable(self, edition_id: str) -> None:
        """Raise NotFound for a retired edition."""
        if self.is_retired(edition_id):
            raise NotFound(
                f"edition {edition_id} was retired: its retention ended, and its data files are removed",
                fix="use a newer edition; `wellspring hold add` keeps one longer than [retention] says",
            )

    def list_history(self, level: EditionLevel = "landed") -> Iterator[Edition]:
        """Yield the editions of a level from the newest to the first."""
        edition = self.latest_edition(level)
        if level == "built":
            yield from self._built_history(edition) if edition is not None else ()
            return
        while edition is not None:
            yield edition
            edition = self.get_edition(edition.parent) if edition.parent else None

    def _built_history(self, latest: Edition) -> list[Edition]:
        """List the built editions up to the latest, newest first; a built edition's parent is a landed one."""
        retired = {name.partition("/")[2] for name in self._blobs.list(_RETIRED_FOLDER)}
        stored_editions = [
            self.get_edition(edition_id) for edition_id in self._records.list_ids() if edition_id not in retired
        ]
        visible = [
            stored for stored in stored_editions if stored.level == "built" and stored.known_since <= latest.known_since
        ]
        return sorted(
            visible, key=lambda edition: (edition.id == latest.id, edition.known_since, edition.id), reverse=True
        )
