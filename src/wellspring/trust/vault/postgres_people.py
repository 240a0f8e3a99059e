"""The person rows of the enclave's database: one sealed row for each token of a person, and the keys that wrap theirs.

The first row of a token stays. A row that only a withdrawn drop brought leaves with it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, NamedTuple

from wellspring.trust.person_cipher import SealedPerson
from wellspring.trust.vault.postgres_outbox import OutboxTable
from wellspring.trust.vault.records import OutboxEntry

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[dict[str, Any]]

_STAGING = """
CREATE TEMPORARY TABLE IF NOT EXISTS new_people (token text, wrapped_key bytea, sealed bytea) ON COMMIT DELETE ROWS
"""
_INSERT = """
INSERT INTO people (token, tenant, domain, key_version, wrapped_key, sealed, drop_id)
SELECT n.token, %(tenant)s, %(domain)s, %(version)s, n.wrapped_key, n.sealed, %(drop)s
FROM new_people n WHERE NOT EXISTS (SELECT FROM people p WHERE p.token = n.token AND p.tenant = %(tenant)s)
ON CONFLICT DO NOTHING
"""
_MISSING = """
SELECT t.token FROM unnest(%s::text[]) AS t (token)
WHERE NOT EXISTS (SELECT FROM people p WHERE p.token = t.token AND p.tenant = %s)
"""
_UNREAD = """
SELECT d.id FROM drops d JOIN unnest(%s::text[], %s::text[]) AS c (name, person) ON d.record->>'contract' = c.name
WHERE d.wrapped_key IS NOT NULL AND d.withdrawn_at IS NULL AND d.person_column IS DISTINCT FROM c.person
  AND EXISTS (SELECT FROM admissions a WHERE a.drop_id = d.id AND a.counts->'verdict'->>'outcome' = 'pass')
ORDER BY d.record->>'known_since', d.id
"""


_COPY_HEAD, _COPY_END = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"
"""Around the rows of a binary COPY (https://www.postgresql.org/docs/current/sql-copy.html)."""
_COUNT_AND_LENGTH, _LENGTH = struct.Struct("!hi"), struct.Struct("!i")


class PersonRows(NamedTuple):
    """New person rows of one drop. column: of its contract. blocks: of rows (`encode_rows`), read once."""

    drop: str
    column: str
    domain: str
    tenant: str
    key_version: int
    blocks: Iterable[bytes]


class PeopleTable:
    """The person rows of one database. open_transaction: of the store."""

    def __init__(self, open_transaction: Callable[[], AbstractContextManager[Connection]], outbox: OutboxTable) -> None:
        self._open_transaction = open_transaction
        self._outbox = outbox

    def list_missing(self, tokens: Sequence[str], tenant: str) -> frozenset[str]:
        """Return those of the tokens that have no row."""
        rows = self._query_rows(_MISSING, list(tokens), tenant)
        return frozenset(row["token"] for row in rows)

    def insert_rows(self, connection: Connection, people: PersonRows) -> None:
        """Store new rows in the transaction of their drop."""
        connection.execute(_STAGING.encode())
        with connection.cursor() as cursor, cursor.copy(b"COPY new_people FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(_COPY_HEAD)
            for block in people.blocks:
                copy.write(block)
            copy.write(_COPY_END)
        connection.execute(
            _INSERT.encode(),
            {
                "tenant": people.tenant,
                "domain": people.domain,
                "version": people.key_version,
                "drop": people.drop,
            },
        )

    def mark_read(self, connection: Connection, drop: str, column: str) -> None:
        """Mark a drop as read: its persons have rows by this column."""
        connection.execute("UPDATE drops SET person_column = %s WHERE id = %s", (column, drop))

    def save_backfill(self, drop: str, column: str, people: PersonRows | None, outbox_entry: OutboxEntry) -> None:
        """Store the new rows of an earlier drop, with the entry of their backfill. people: None if no row is new."""
        with self._open_transaction() as connection:
            if people is not None:
                self.insert_rows(connection, people)
            self.mark_read(connection, drop, column)
            self._outbox.insert_entry(connection, outbox_entry)

    def list_unread_drops(self, columns: Mapping[str, str]) -> tuple[str, ...]:
        """List the admitted drops whose original is kept and whose persons were not read by these columns.

        columns: the person column in force, by contract.
        """
        rows = self._query_rows(_UNREAD, list(columns), list(columns.values()))
        return tuple(row["id"] for row in rows)

    def count_rows(self) -> dict[str, int]:
        """Count the persons that have a row, by token domain."""
        rows = self._query_rows("SELECT domain, count(*) AS rows FROM people GROUP BY domain ORDER BY domain")
        return {row["domain"]: row["rows"] for row in rows}

    def get_row(self, token: str, tenant: str) -> SealedPerson | None:
        """Return the row of a token."""
        rows = self._query_rows("SELECT * FROM people WHERE token = %s AND tenant = %s", token, tenant)
        return _decode_row(rows[0]) if rows else None

    def list_keys(self) -> dict[int, str]:
        """Return the wrapped key-encryption keys by version."""
        rows = self._query_rows("SELECT * FROM people_keys ORDER BY version")
        return {row["version"]: row["wrapped_key"] for row in rows}

    def add_key(self, version: int, wrapped_key: str) -> None:
        """Store a key-encryption key permanently; no effect if the version exists."""
        with self._open_transaction() as connection:
            connection.execute("INSERT INTO people_keys VALUES (%s, %s) ON CONFLICT DO NOTHING", (version, wrapped_key))

    def _query_rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with self._open_transaction() as connection:
            return connection.execute(query.encode(), values).fetchall()


def encode_rows(tokens: Iterable[str], sealed: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Encode person rows for a binary COPY. sealed: the wrapped key and the sealed values of each token."""
    parts: list[bytes] = []
    for token, (wrapped_key, content) in zip(tokens, sealed, strict=True):
        text = token.encode()
        parts += (
            _COUNT_AND_LENGTH.pack(3, len(text)),
            text,
            _LENGTH.pack(len(wrapped_key)),
            wrapped_key,
            _LENGTH.pack(len(content)),
            content,
        )
    return b"".join(parts)


def remove_person_rows(connection: Connection, drop: str) -> None:
    """Remove the rows that a drop brought, and let a backfill read the drops again that may have the same persons."""
    if connection.execute("DELETE FROM people WHERE drop_id = %s", (drop,)).rowcount:
        connection.execute(b"UPDATE drops SET person_column = NULL WHERE wrapped_key IS NOT NULL")
    connection.execute("UPDATE drops SET person_column = NULL WHERE id = %s", (drop,))


def _decode_row(row: dict[str, Any]) -> SealedPerson:
    wrapped_key = row["wrapped_key"]
    return SealedPerson(
        row["domain"],
        row["token"],
        row["tenant"],
        row["key_version"],
        None if wrapped_key is None else bytes(wrapped_key),
        bytes(row["sealed"]),
    )
