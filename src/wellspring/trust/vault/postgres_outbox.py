"""The outbox table of the enclave's database: only what a process with the outbox key wrote is recorded.

Whoever owns the database can insert, change and repeat rows, and has no key. The MAC covers a label, and the canonical
JSON of all that is recorded, with the key of the row; so a row is valid under its own key only.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.errors import CorruptedError
from wellspring.records.trust import Ref
from wellspring.trust.vault.postgres_schema import MOVE_FORGED_ROWS, PENDING_ROWS
from wellspring.trust.vault.records import OutboxEntry
from wellspring_verify import canonical

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[dict[str, Any]]

OUTBOX_SECRET = "enclave/outbox"  # noqa: S105 (the path of a secret)
MAX_RECORD_BYTES = 131_072
"""Maximum bytes of a stored entry; an entry of the log has at most 65,535."""
_PENDING_BATCH = 100
"""Maximum number of rows that are read at once."""
_ENTRY_LABEL, _NAME_LABEL = b"wellspring outbox entry 1\n", b"wellspring outbox row 1\n"


class ForgedRow(NamedTuple):
    """A row that the enclave did not write. place: in the table; a position may be the one of another row.

    name: a keyed digest, because the row's own key is text of whoever wrote it.
    """

    place: str
    position: int
    name: str
    reason: str


class PendingRows(NamedTuple):
    """The oldest rows that are not published. forged: those that the enclave did not write."""

    entries: tuple[OutboxEntry, ...]
    forged: tuple[ForgedRow, ...]


class OutboxTable:
    """The outbox. open_transaction: of the store. key: of the MAC of each entry; the database has it nowhere."""

    def __init__(self, open_transaction: Callable[[], AbstractContextManager[Connection]], key: bytes) -> None:
        self._open_transaction = open_transaction
        self._key = key

    def insert_entry(self, connection: Connection, entry: OutboxEntry, *, skip_existing: bool = False) -> bool:
        """Store an entry in the transaction of its change. Returns False if it exists and is skipped."""
        record = encode_entry(entry)
        query = "INSERT INTO outbox (key, record, mac) VALUES (%s, %s, %s)"
        if skip_existing:
            query += " ON CONFLICT DO NOTHING"
        values = (entry.key, record, compute_mac(self._key, record))
        return connection.execute(query.encode(), values).rowcount == 1

    def has_pending_rows(self) -> bool:
        with self._open_transaction() as connection:
            return connection.execute("SELECT 1 FROM outbox WHERE NOT published LIMIT 1").fetchone() is not None

    def read_pending_rows(self) -> PendingRows:
        """Read the oldest rows that are not published, at most 100. Only what has a valid MAC is an entry."""
        with self._open_transaction() as connection:
            rows = connection.execute(PENDING_ROWS.encode(), (MAX_RECORD_BYTES, _PENDING_BATCH)).fetchall()
        pending = [open_row(self._key, row) for row in rows]
        return PendingRows(
            tuple(row for row in pending if isinstance(row, OutboxEntry)),
            tuple(row for row in pending if isinstance(row, ForgedRow)),
        )

    def set_aside(self, forged: Sequence[ForgedRow], finding: OutboxEntry) -> None:
        """Move forged rows to a table of their own, which frees their keys, and store the entry that names them.

        Raises CorruptedError if somebody changes them meanwhile.
        """
        with self._open_transaction() as connection:
            moved = connection.execute(MOVE_FORGED_ROWS.encode(), ([row.place for row in forged],)).rowcount
            if moved != len(forged):
                raise CorruptedError(
                    "somebody changes the outbox of the enclave's database", fix="see who may log in to it"
                )
            self.insert_entry(connection, finding, skip_existing=True)

    def mark_published(self, key: str) -> None:
        with self._open_transaction() as connection:
            connection.execute("UPDATE outbox SET published = true WHERE key = %s", (key,))


def encode_entry(entry: OutboxEntry) -> bytes:
    """Encode an entry as the bytes that are stored."""
    return canonical.dumps_canonical(
        {
            "key": entry.key,
            "action": entry.action,
            "subject": entry.subject,
            "inputs": [ref.model_dump(mode="json") for ref in entry.inputs],
            "outputs": [ref.model_dump(mode="json") for ref in entry.outputs],
            "facts": entry.facts,
        }
    )


def compute_mac(outbox_key: bytes, record: bytes) -> bytes:
    """Return the HMAC-SHA-256 of a stored entry."""
    return hmac.digest(outbox_key, _ENTRY_LABEL + record, "sha256")


def open_row(outbox_key: bytes, row: dict[str, Any]) -> OutboxEntry | ForgedRow:
    """Return the entry of a row of the outbox. row: position, key, record (None if it is too large) and mac.

    Nothing of a record is parsed before its MAC was checked.
    """
    record, mac = row["record"], row["mac"]
    if record is None:
        return _forged_row(outbox_key, row, "too_large")
    if not mac:
        return _forged_row(outbox_key, row, "mac_missing")
    if not hmac.compare_digest(compute_mac(outbox_key, bytes(record)), bytes(mac)):
        return _forged_row(outbox_key, row, "mac_wrong")
    values = json.loads(record)
    if values["key"] != row["key"]:
        return _forged_row(outbox_key, row, "other_key")
    return OutboxEntry(
        values["key"],
        values["action"],
        values["subject"],
        tuple(Ref.model_validate(ref) for ref in values["inputs"]),
        tuple(Ref.model_validate(ref) for ref in values["outputs"]),
        values["facts"],
    )


def _forged_row(outbox_key: bytes, row: dict[str, Any], reason: str) -> ForgedRow:
    name = f"{row['position']}/{row['key']}".encode(errors="surrogatepass")
    return ForgedRow(
        row["place"], row["position"], hmac.digest(outbox_key, _NAME_LABEL + name, "sha256").hex()[:16], reason
    )
