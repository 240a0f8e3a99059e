"""Store the enclave's drops, wrapped keys, quarantine and outbox in its own PostgreSQL database.

Each change and its ledger entry (`OutboxEntry`) are written in one transaction. `enclave/outbox.py` then writes the
entry to the journal and marks it as published, so that a crash at any point neither loses nor repeats an entry. An
entry has a MAC (`postgres_outbox`), because who owns the database can add rows.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wellspring.errors import CorruptedError, NotFound, Unavailable
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import Drop, QuarantineCount
from wellspring.records.record import Digest
from wellspring.runtime.unix_socket import ServerSocket, has_unread_data
from wellspring.trust.vault.postgres_connection import connect_postgres
from wellspring.trust.vault.postgres_decisions import DecisionTable
from wellspring.trust.vault.postgres_outbox import OutboxTable
from wellspring.trust.vault.postgres_people import PeopleTable, PersonRows
from wellspring.trust.vault.postgres_schema import FINISHED_FILES, UNFINISHED_DROPS, VAULT_SCHEMA
from wellspring.trust.vault.records import (
    AdmissionPart,
    FinishedFile,
    OutboxEntry,
    QuarantinedRecord,
    StoredDrop,
    UnfinishedDrop,
    decode_admission_part,
    decode_quarantined_record,
    decode_stored_drop,
    encode_reasons,
)

if TYPE_CHECKING:
    import psycopg


class VaultStore:
    """The database. password: from the enclave's own secrets. Thread-safe; transactions run one at a time.

    outbox_key: of the MAC of each outbox entry, from the same secrets.
    """

    def __init__(self, server: ServerSocket, *, user: str, password: str, database: str, outbox_key: bytes) -> None:
        self._server = server
        self.outbox = OutboxTable(self._transaction, outbox_key)
        self.decisions = DecisionTable(self._transaction, self.outbox)
        self.people = PeopleTable(self._transaction, self.outbox)
        self._options = {
            "user": user,
            "password": password,
            "dbname": database,
            "application_name": "wellspring enclave",
        }
        self._lock = threading.Lock()
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        with self._transaction() as connection:
            # Of two enclaves that start at once, only one may create the schema; the other waits for the lock.
            connection.execute("SELECT pg_advisory_xact_lock(7305)")
            connection.execute(VAULT_SCHEMA)

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()

    # Drops and their keys.

    def get_drop(self, drop: str) -> StoredDrop:
        """Return a drop by id. Raises NotFound."""
        rows = self._query_rows("SELECT * FROM drops WHERE id = %s", drop)
        if not rows:
            raise NotFound(f"the enclave has no drop {drop!r}", fix="see `wellspring ingest` for the existing drops")
        return decode_stored_drop(rows[0])

    def list_stored_ids(self, contract: str, drops: Sequence[str]) -> frozenset[str]:
        """Return those of the ids that are drops of a contract."""
        rows = self._query_rows(
            "SELECT id FROM drops WHERE record->>'contract' = %s AND id = ANY(%s)", contract, list(drops)
        )
        return frozenset(row["id"] for row in rows)

    def find_drop_by_name(self, source: str, name: str) -> StoredDrop | None:
        rows = self._query_rows("SELECT * FROM drops WHERE source = %s AND name = %s", source, name)
        return decode_stored_drop(rows[0]) if rows else None

    def find_earlier_copy(self, drop: Drop) -> AdmissionPart | None:
        """Find the first admission of another drop of the same source and contract with the same bytes.

        Only one that passed, and that did not itself consist of copies only.
        """
        rows = self._query_rows(
            "SELECT a.* FROM drops d JOIN admissions a ON a.drop_id = d.id AND a.replay_number = 0"
            " WHERE d.source = %s AND d.id <> %s AND d.record->>'digest' = %s AND d.record->>'contract' = %s"
            " ORDER BY a.known_since",
            drop.source,
            drop.id,
            drop.digest,
            drop.contract,
        )
        parts = [decode_admission_part(row) for row in rows]
        return next((part for part in parts if part.counts.verdict.passed and part.counts.admitted), None)

    def list_drops(self) -> tuple[StoredDrop, ...]:
        return tuple(map(decode_stored_drop, self._query_rows("SELECT * FROM drops")))

    def list_finished_files(self, source: str) -> dict[str, FinishedFile]:
        """List by name the files whose drop is published, or has nothing to publish; not those that were discarded."""
        rows = self._query_rows(FINISHED_FILES, source)
        return {row["name"]: FinishedFile(row["size"], row["modified"], row["identity"]) for row in rows}

    def list_unfinished_drops(self, source: str) -> dict[str, UnfinishedDrop]:
        """List by name the drops of a source whose first admission is missing or not settled, or was discarded."""
        rows = self._query_rows(UNFINISHED_DROPS, source)
        return {
            row["name"]: UnfinishedDrop(decode_stored_drop(row), admitted=row["admitted"], settled=row["settled"])
            for row in rows
        }

    def list_decryptable_ids(self) -> frozenset[str]:
        """List the drops whose key is not destroyed: those within their retention."""
        return frozenset(row["id"] for row in self._query_rows("SELECT id FROM drops WHERE wrapped_key IS NOT NULL"))

    def list_expired(self, now: datetime) -> tuple[StoredDrop, ...]:
        """List the drops whose retention ended and whose key is not destroyed. Called before each operation."""
        rows = self._query_rows("SELECT * FROM drops WHERE wrapped_key IS NOT NULL AND retention_until <= %s", now)
        return tuple(map(decode_stored_drop, rows))

    def save_drop(self, stored_drop: StoredDrop, outbox_entry: OutboxEntry) -> None:
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO drops VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    stored_drop.drop.id,
                    stored_drop.drop.source,
                    stored_drop.drop.name,
                    _to_jsonb(stored_drop.drop.model_dump(mode="json")),
                    stored_drop.modified,
                    stored_drop.original_digest,
                    stored_drop.wrapped_key,
                    stored_drop.retention_until,
                    stored_drop.identity,
                ),
            )
            self.outbox.insert_entry(connection, outbox_entry)

    def update_file_state(self, drop: str, modified: datetime, identity: str) -> None:
        """Store the new modification time and identity of an unchanged file at its source."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE drops SET modified = %s, identity = %s WHERE id = %s", (modified, identity, drop)
            )

    def destroy_key(self, drop: str, outbox_entry: OutboxEntry) -> None:
        """Delete the wrapped key and quarantined rows of a drop; rows of an unsettled replay stay, without values."""
        with self._transaction() as connection:
            connection.execute("UPDATE drops SET wrapped_key = NULL WHERE id = %s", (drop,))
            connection.execute("DELETE FROM quarantine WHERE drop_id = %s AND replay_number IS NULL", (drop,))
            connection.execute("UPDATE quarantine SET sealed = '' WHERE drop_id = %s", (drop,))
            self.outbox.insert_entry(connection, outbox_entry)

    def discard_replay(self, drop: str, replay_number: int, outbox_entry: OutboxEntry) -> None:
        """Discard a replay that was never settled and whose original was deleted."""
        with self._transaction() as connection:
            connection.execute(
                "DELETE FROM quarantine WHERE drop_id = %s AND replay_number = %s", (drop, replay_number)
            )
            connection.execute(
                "UPDATE admissions SET settled = true WHERE drop_id = %s AND replay_number = %s", (drop, replay_number)
            )
            self.outbox.insert_entry(connection, outbox_entry)

    # Admissions and quarantine.

    def list_parts(self, drop: str) -> tuple[AdmissionPart, ...]:
        return tuple(
            map(
                decode_admission_part,
                self._query_rows("SELECT * FROM admissions WHERE drop_id = %s ORDER BY replay_number", drop),
            )
        )

    def save_admission(
        self,
        part: AdmissionPart,
        rows: Iterable[QuarantinedRecord],
        outbox_entry: OutboxEntry,
        people: PersonRows | None = None,
    ) -> None:
        """Store the first admission of a drop, its quarantined rows and the rows of its new persons."""
        with self._transaction() as connection:
            _insert_admission(connection, part)
            copying = b"COPY quarantine (drop_id, row_number, sealed, reasons) FROM STDIN"
            with connection.cursor() as cursor, cursor.copy(copying) as copy:
                for record in rows:
                    reasons = _to_jsonb(encode_reasons(record.reasons))
                    copy.write_row((part.drop, record.row_number, record.sealed, reasons))
            if people is not None:
                self.people.insert_rows(connection, people)
                self.people.mark_read(connection, part.drop, people.column)
            self.outbox.insert_entry(connection, outbox_entry)

    def save_replay(
        self,
        part: AdmissionPart,
        row_numbers: list[int],
        still_quarantined: Iterable[QuarantinedRecord],
        outbox_entry: OutboxEntry,
        people: PersonRows | None = None,
    ) -> None:
        """Store a replay: assign it the rows that passed, and update the reasons of the others.

        The rows of a settled part leave quarantine: all of them are copies, and nothing is published.
        """
        with self._transaction() as connection:
            _insert_admission(connection, part)
            connection.execute(
                "UPDATE quarantine SET replay_number = %s WHERE drop_id = %s AND row_number = ANY(%s)",
                (part.replay_number, part.drop, row_numbers),
            )
            with connection.cursor() as cursor:
                cursor.executemany(
                    "UPDATE quarantine SET reasons = %s, sealed = %s WHERE drop_id = %s AND row_number = %s",
                    (
                        (_to_jsonb(encode_reasons(record.reasons)), record.sealed, part.drop, record.row_number)
                        for record in still_quarantined
                    ),
                )
            if part.settled:
                connection.execute(
                    "DELETE FROM quarantine WHERE drop_id = %s AND replay_number = %s", (part.drop, part.replay_number)
                )
            if people is not None:
                self.people.insert_rows(connection, people)
            self.outbox.insert_entry(connection, outbox_entry)

    def settle_part(self, drop: str, replay_number: int, outbox_entry: OutboxEntry) -> None:
        """Settle a published admission, and remove its rows from quarantine."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE admissions SET settled = true WHERE drop_id = %s AND replay_number = %s", (drop, replay_number)
            )
            connection.execute(
                "DELETE FROM quarantine WHERE drop_id = %s AND replay_number = %s", (drop, replay_number)
            )
            self.outbox.insert_entry(connection, outbox_entry)

    def list_row_numbers(self, drop: str, *, replay_number: int | None = None) -> list[int]:
        """List the row numbers, ascending, of quarantined rows, or of those that a replay released."""
        rows = self._query_rows(
            "SELECT row_number FROM quarantine WHERE drop_id = %s AND replay_number IS NOT DISTINCT FROM %s ORDER BY 1",
            drop,
            replay_number,
        )
        return [row["row_number"] for row in rows]

    def count_waiting_rows(self, drop: str) -> int:
        """Count the quarantined rows of a drop, without those that a replay released."""
        counting = "SELECT count(*) AS rows FROM quarantine WHERE drop_id = %s AND replay_number IS NULL"
        return int(self._query_rows(counting, drop)[0]["rows"])

    def list_quarantined(self, drop: str, *, limit: int) -> tuple[QuarantinedRecord, ...]:
        """List quarantined rows, ascending, with those of unsettled replays."""
        rows = self._query_rows("SELECT * FROM quarantine WHERE drop_id = %s ORDER BY row_number LIMIT %s", drop, limit)
        return tuple(map(decode_quarantined_record, rows))

    def count_quarantined(self, drop: str | None = None) -> tuple[QuarantineCount, ...]:
        """Count the quarantined rows of each drop, or of one drop, by reason code; oldest drop first."""
        reasons: dict[str, dict[str, int]] = {}
        for row in self._query_rows(
            "SELECT drop_id, reason->>'code' AS code, count(DISTINCT row_number) AS rows"
            " FROM quarantine, jsonb_array_elements(reasons) AS reason"
            " WHERE %s::text IS NULL OR drop_id = %s GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
            drop,
            drop,
        ):
            reasons.setdefault(row["drop_id"], {})[row["code"]] = row["rows"]
        rows = self._query_rows(
            "SELECT drop_id, count(*) AS rows, retention_until FROM quarantine JOIN drops ON drops.id = drop_id"
            " WHERE %s::text IS NULL OR drop_id = %s"
            " GROUP BY drop_id, retention_until, record->>'known_since' ORDER BY record->>'known_since', drop_id",
            drop,
            drop,
        )
        return tuple(
            QuarantineCount(
                drop=row["drop_id"],
                rows=row["rows"],
                reasons=reasons.get(row["drop_id"], {}),
                expires_at=row["retention_until"],
            )
            for row in rows
        )

    # Token keys and contracts.

    def list_token_keys(self) -> dict[str, tuple[int, str]]:
        """Return the newest version and wrapped key of each domain."""
        rows = self._query_rows("SELECT DISTINCT ON (domain) * FROM token_keys ORDER BY domain, version DESC")
        return {row["domain"]: (row["version"], row["wrapped_key"]) for row in rows}

    def add_token_key(self, domain: str, version: int, wrapped_key: str) -> None:
        """Store a token key permanently; no effect if the version exists."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO token_keys VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (domain, version, wrapped_key)
            )

    def get_contract(self, digest: Digest) -> DataContract | None:
        """Return an accepted contract by its digest."""
        rows = self._query_rows("SELECT record FROM contracts WHERE digest = %s", digest)
        return DataContract.model_validate(rows[0]["record"]) if rows else None

    def list_latest_contracts(self) -> dict[str, DataContract]:
        """Return the last accepted contract of each name."""
        rows = self._query_rows("SELECT DISTINCT ON (name) record FROM contracts ORDER BY name, accepted_order DESC")
        contracts = [DataContract.model_validate(row["record"]) for row in rows]
        return {contract.name: contract for contract in contracts}

    def list_contract_digests(self) -> list[str]:
        """Return the digest of the last accepted contract of each name."""
        rows = self._query_rows("SELECT DISTINCT ON (name) digest FROM contracts ORDER BY name, accepted_order DESC")
        return [row["digest"] for row in rows]

    def accept_contract(self, contract: DataContract, outbox_entry: OutboxEntry) -> None:
        """Store a contract as the last accepted of its name."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM contracts WHERE digest = %s", (contract.digest,))
            connection.execute(
                "INSERT INTO contracts (digest, name, record) VALUES (%s, %s, %s)",
                (contract.digest, contract.name, _to_jsonb(contract.model_dump(mode="json"))),
            )
            self.outbox.insert_entry(connection, outbox_entry)

    def record_finding(self, outbox_entry: OutboxEntry) -> bool:
        """Store a finding; return False if it is already stored."""
        with self._transaction() as connection:
            return self.outbox.insert_entry(connection, outbox_entry, skip_existing=True)

    def _query_rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with self._transaction() as connection:
            return connection.execute(query.encode(), values).fetchall()

    @contextmanager
    def _transaction(self) -> Generator[psycopg.Connection[dict[str, Any]]]:
        import psycopg

        with self._lock:
            try:
                connection = self._connection
                if connection is not None and not connection.closed and has_unread_data(connection.fileno()):
                    # The server has ended it, as it does when it restarts.
                    connection.close()
                if connection is None or connection.closed:
                    connection = self._connection = connect_postgres(self._server, self._options)
                with connection.transaction():
                    yield connection
            except (psycopg.OperationalError, psycopg.InterfaceError) as exc:
                # Its message may contain row values, so only its class is reported.
                raise Unavailable(
                    f"the enclave's database does not respond ({type(exc).__name__})", fix="see `wellspring status`"
                ) from None
            except psycopg.Error as exc:
                raise CorruptedError(
                    f"the enclave's database refused a change ({type(exc).__name__})",
                    fix="change nothing, and see the database's log",
                ) from None


def _insert_admission(connection: psycopg.Connection[dict[str, Any]], part: AdmissionPart) -> None:
    connection.execute(
        "INSERT INTO admissions VALUES (%s, %s, %s, %s, %s, %s, %s)",
        (
            part.drop,
            part.replay_number,
            part.contract_digest,
            part.known_since,
            _to_jsonb(part.counts.model_dump(mode="json")),
            part.settled,
            part.excluded,
        ),
    )


def _to_jsonb(value: object) -> Any:
    from psycopg.types.json import Jsonb

    return Jsonb(value)
