"""Decisions about a stored drop in the enclave's database: withdrawn, judged again, its quarantined rows discarded.

Each is one transaction with its ledger entry. A decision removes what an earlier admission left, so that the next
admission of the drop starts from its original.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wellspring.records.ingestion import Drop
from wellspring.trust.vault.postgres_outbox import OutboxTable
from wellspring.trust.vault.postgres_people import remove_person_rows
from wellspring.trust.vault.records import OutboxEntry

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[dict[str, Any]]


class DecisionTable:
    """The decisions about the drops of one database. open_transaction: of the store."""

    def __init__(self, open_transaction: Callable[[], AbstractContextManager[Connection]], outbox: OutboxTable) -> None:
        self._open_transaction = open_transaction
        self._outbox = outbox

    def withdraw_drop(self, drop: str, at: datetime, outbox_entry: OutboxEntry) -> None:
        """Mark a drop as withdrawn, and remove its admissions and quarantined rows."""
        with self._open_transaction() as connection:
            connection.execute("UPDATE drops SET withdrawn_at = %s WHERE id = %s", (at, drop))
            _remove_admissions(connection, drop)
            self._outbox.insert_entry(connection, outbox_entry)

    def reset_drop(self, drop: Drop, outbox_entry: OutboxEntry) -> None:
        """Return a drop to the state before its first admission, with the contract and the instant of this record."""
        with self._open_transaction() as connection:
            _update_record(connection, drop)
            connection.execute(
                "UPDATE drops SET withdrawn_at = NULL, rejudgements = rejudgements + 1 WHERE id = %s", (drop.id,)
            )
            _remove_admissions(connection, drop.id)
            self._outbox.insert_entry(connection, outbox_entry)

    def update_contract(self, drop: Drop) -> None:
        """Store another contract for a drop that was not admitted yet."""
        with self._open_transaction() as connection:
            _update_record(connection, drop)

    def discard_quarantined(self, drop: str, outbox_entry: OutboxEntry) -> None:
        """Remove the quarantined rows of a drop; those that a replay released and that are not published stay."""
        with self._open_transaction() as connection:
            connection.execute("DELETE FROM quarantine WHERE drop_id = %s AND replay_number IS NULL", (drop,))
            self._outbox.insert_entry(connection, outbox_entry)

    def find_withdrawn_copy(self, drop: Drop) -> str | None:
        """Find a withdrawn drop of the same source and contract with the same bytes."""
        row = self._fetch_row(
            "SELECT id FROM drops WHERE source = %s AND id <> %s AND record->>'digest' = %s"
            " AND record->>'contract' = %s AND withdrawn_at IS NOT NULL ORDER BY withdrawn_at LIMIT 1",
            drop.source,
            drop.id,
            drop.digest,
            drop.contract,
        )
        return None if row is None else str(row["id"])

    def has_entry(self, key: str) -> bool:
        """Return whether a change with this key was stored."""
        return self._fetch_row("SELECT 1 AS one FROM outbox WHERE key = %s", key) is not None

    def is_published(self, drop: str) -> bool:
        """Return whether a part of a drop was confirmed as published."""
        query = (
            "SELECT 1 AS one FROM admissions a"
            " JOIN outbox o ON o.key = 'settle/' || a.drop_id || '/' || a.replay_number::text"
            " WHERE a.drop_id = %s LIMIT 1"
        )
        return self._fetch_row(query, drop) is not None

    def has_published(self, contract: str) -> bool:
        """Return whether rows of a contract, of any version, were confirmed as published."""
        query = (
            "SELECT 1 AS one FROM drops d JOIN admissions a ON a.drop_id = d.id"
            " JOIN outbox o ON o.key = 'settle/' || a.drop_id || '/' || a.replay_number::text"
            " WHERE d.record->>'contract' = %s LIMIT 1"
        )
        return self._fetch_row(query, contract) is not None

    def _fetch_row(self, query: str, *values: object) -> dict[str, Any] | None:
        with self._open_transaction() as connection:
            return connection.execute(query.encode(), values).fetchone()


def _update_record(connection: Connection, drop: Drop) -> None:
    from psycopg.types.json import Jsonb

    record = Jsonb(drop.model_dump(mode="json"))
    connection.execute("UPDATE drops SET record = %s WHERE id = %s", (record, drop.id))


def _remove_admissions(connection: Connection, drop: str) -> None:
    connection.execute("DELETE FROM quarantine WHERE drop_id = %s", (drop,))
    connection.execute("DELETE FROM admissions WHERE drop_id = %s", (drop,))
    remove_person_rows(connection, drop)
