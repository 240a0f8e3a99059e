"""The enclave's own memory, in its own PostgreSQL database: drops, wrapped keys, quarantine, facts still to be told.

Every change is one transaction, and carries the fact that has to stand in the ledger (`Fact`): it is written down here
as *told: no* together with the change, then told to the journal, then marked. So a kill between any two of these loses
no fact, and none is told twice (`enclave/facts.py`).
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from wellspring.errors import Broken, NotFound, Unavailable
from wellspring.records.data import Contract
from wellspring.records.record import Digest
from wellspring.trust.vault.kept import Fact, Kept, Part, Waiting, fact_in, kept_in, part_in, reasons_out, waiting_in

if TYPE_CHECKING:
    import psycopg

_SCHEMA = """
CREATE TABLE IF NOT EXISTS drops (
    id text PRIMARY KEY, source text NOT NULL, name text NOT NULL, record jsonb NOT NULL, modified timestamptz NOT NULL,
    original_digest text NOT NULL, wrapped_key text, retention_until timestamptz NOT NULL, UNIQUE (source, name));
CREATE TABLE IF NOT EXISTS parts (
    drop_id text NOT NULL REFERENCES drops, part integer NOT NULL, contract_digest text NOT NULL,
    known_since timestamptz NOT NULL, verdict jsonb NOT NULL, received bigint NOT NULL, admitted bigint NOT NULL,
    quarantined bigint NOT NULL, masked bigint NOT NULL, reasons jsonb NOT NULL, rows_digest text NOT NULL,
    settled boolean NOT NULL DEFAULT false, PRIMARY KEY (drop_id, part));
CREATE TABLE IF NOT EXISTS quarantine (
    drop_id text NOT NULL REFERENCES drops, row_number bigint NOT NULL, sealed bytea NOT NULL, reasons jsonb NOT NULL,
    fault text, part integer, PRIMARY KEY (drop_id, row_number));
CREATE TABLE IF NOT EXISTS token_keys (
    domain text NOT NULL, version integer NOT NULL, wrapped text NOT NULL, PRIMARY KEY (domain, version));
CREATE TABLE IF NOT EXISTS contracts (
    seen bigint GENERATED ALWAYS AS IDENTITY, digest text PRIMARY KEY, name text NOT NULL, record jsonb NOT NULL);
CREATE TABLE IF NOT EXISTS facts (
    place bigint GENERATED ALWAYS AS IDENTITY, key text PRIMARY KEY, action text NOT NULL, subject text NOT NULL,
    inputs jsonb NOT NULL, outputs jsonb NOT NULL, facts jsonb NOT NULL, told boolean NOT NULL DEFAULT false);
CREATE INDEX IF NOT EXISTS facts_untold ON facts (place) WHERE NOT told;
CREATE INDEX IF NOT EXISTS drops_with_key ON drops (retention_until) WHERE wrapped_key IS NOT NULL;
"""


class VaultStore:
    """The database. password: from the enclave's own secrets. Used by any thread; transactions take turns."""

    def __init__(self, *, host: str, user: str, password: str, database: str) -> None:
        self._options = {"host": host, "user": user, "password": password, "dbname": database}
        self._turn = threading.Lock()
        self._connection: psycopg.Connection[dict[str, Any]] | None = None
        with self._transaction() as run:
            # Two enclaves that start at once must not both create: the second waits, then finds everything there.
            run.execute("SELECT pg_advisory_xact_lock(7305)")
            run.execute(_SCHEMA)

    def close(self) -> None:
        with self._turn:
            if self._connection is not None:
                self._connection.close()

    # Drops and their keys.

    def drop(self, drop: str) -> Kept:
        """Raises NotFound."""
        rows = self._rows("SELECT * FROM drops WHERE id = %s", drop)
        if not rows:
            raise NotFound(
                f"the enclave knows no drop {drop!r}", fix="see `wellspring receive` for the drops there are"
            )
        return kept_in(rows[0])

    def named(self, source: str, name: str) -> Kept | None:
        rows = self._rows("SELECT * FROM drops WHERE source = %s AND name = %s", source, name)
        return kept_in(rows[0]) if rows else None

    def drops(self, source: str | None = None) -> tuple[Kept, ...]:
        """Every drop, or every drop of one source."""
        return tuple(
            map(kept_in, self._rows("SELECT * FROM drops WHERE %s::text IS NULL OR source = %s", source, source))
        )

    def openable(self) -> tuple[Kept, ...]:
        """Every drop whose key is not destroyed: those of the last days only, however long the house has stood."""
        return tuple(map(kept_in, self._rows("SELECT * FROM drops WHERE wrapped_key IS NOT NULL")))

    def keep(self, kept: Kept, fact: Fact) -> None:
        with self._transaction() as run:
            run.execute(
                "INSERT INTO drops VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    kept.drop.id,
                    kept.drop.source,
                    kept.drop.name,
                    _json(kept.drop.model_dump(mode="json")),
                    kept.modified,
                    kept.original_digest,
                    kept.wrapped,
                    kept.retention_until,
                ),
            )
            _tell(run, fact)

    def seen_again(self, drop: str, modified: datetime) -> None:
        """Remember that the same bytes now carry another time over there."""
        with self._transaction() as run:
            run.execute("UPDATE drops SET modified = %s WHERE id = %s", (modified, drop))

    def destroy_key(self, drop: str, fact: Fact) -> None:
        """Forget the wrapped key and the rows that wait under it; one that is on its way out stays, without values."""
        with self._transaction() as run:
            run.execute("UPDATE drops SET wrapped_key = NULL WHERE id = %s", (drop,))
            run.execute("DELETE FROM quarantine WHERE drop_id = %s AND part IS NULL", (drop,))
            run.execute("UPDATE quarantine SET sealed = '' WHERE drop_id = %s", (drop,))
            _tell(run, fact)

    def discard(self, drop: str, part: int, fact: Fact) -> None:
        """Give up a replay that never settled and whose original is gone."""
        with self._transaction() as run:
            run.execute("DELETE FROM quarantine WHERE drop_id = %s AND part = %s", (drop, part))
            run.execute("UPDATE parts SET settled = true WHERE drop_id = %s AND part = %s", (drop, part))
            _tell(run, fact)

    # Parts and quarantine.

    def parts(self, drop: str) -> tuple[Part, ...]:
        return tuple(map(part_in, self._rows("SELECT * FROM parts WHERE drop_id = %s ORDER BY part", drop)))

    def admitted(self) -> frozenset[str]:
        """Name the drops whose first judgement stands: all but one that a crash interrupted."""
        return frozenset(row["drop_id"] for row in self._rows("SELECT drop_id FROM parts WHERE part = 0"))

    def admit(self, part: Part, rows: Iterable[Waiting], fact: Fact) -> None:
        """Keep a first judgement and the rows that wait."""
        with self._transaction() as run:
            _insert_part(run, part)
            copying = b"COPY quarantine (drop_id, row_number, sealed, reasons, fault) FROM STDIN"
            with run.cursor() as cursor, cursor.copy(copying) as copy:
                for row in rows:
                    copy.write_row((part.drop, row.row_number, row.sealed, _json(reasons_out(row.reasons)), row.fault))
            _tell(run, fact)

    def readmit(self, part: Part, row_numbers: list[int], rest: Iterable[Waiting], fact: Fact) -> None:
        """Keep a replay: these rows are on their way out until it is settled; the rest waits for other reasons now."""
        with self._transaction() as run:
            _insert_part(run, part)
            run.execute(
                "UPDATE quarantine SET part = %s WHERE drop_id = %s AND row_number = ANY(%s)",
                (part.part, part.drop, row_numbers),
            )
            with run.cursor() as cursor:
                cursor.executemany(
                    "UPDATE quarantine SET reasons = %s, fault = %s, sealed = %s"
                    " WHERE drop_id = %s AND row_number = %s",
                    ((_json(reasons_out(r.reasons)), r.fault, r.sealed, part.drop, r.row_number) for r in rest),
                )
            _tell(run, fact)

    def settle(self, drop: str, part: int, fact: Fact) -> None:
        """Let a published part's rows leave quarantine."""
        with self._transaction() as run:
            run.execute("UPDATE parts SET settled = true WHERE drop_id = %s AND part = %s", (drop, part))
            run.execute("DELETE FROM quarantine WHERE drop_id = %s AND part = %s", (drop, part))
            _tell(run, fact)

    def waiting(self, drop: str, *, part: int | None = None) -> dict[int, str | None]:
        """The rows that wait, or those that are on their way out with `part`: row number, ascending -> its fault."""
        rows = self._rows(
            "SELECT row_number, fault FROM quarantine WHERE drop_id = %s AND part IS NOT DISTINCT FROM %s ORDER BY 1",
            drop,
            part,
        )
        return {row["row_number"]: row["fault"] for row in rows}

    def quarantined(self, drop: str, *, at_most: int) -> tuple[Waiting, ...]:
        """All rows that have not left, those on their way out too; ascending."""
        rows = self._rows("SELECT * FROM quarantine WHERE drop_id = %s ORDER BY row_number LIMIT %s", drop, at_most)
        return tuple(map(waiting_in, rows))

    # Token keys and contracts.

    def token_keys(self) -> dict[str, tuple[int, str]]:
        """Return each domain's newest version, and its key, wrapped."""
        rows = self._rows("SELECT DISTINCT ON (domain) * FROM token_keys ORDER BY domain, version DESC")
        return {row["domain"]: (row["version"], row["wrapped"]) for row in rows}

    def add_token_key(self, domain: str, version: int, wrapped: str) -> None:
        """Keep a token key for ever; nothing happens if that version is there already."""
        with self._transaction() as run:
            run.execute("INSERT INTO token_keys VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (domain, version, wrapped))

    def contract(self, digest: Digest) -> Contract | None:
        """Return a contract that was accepted once, by its digest."""
        rows = self._rows("SELECT record FROM contracts WHERE digest = %s", digest)
        return Contract.model_validate(rows[0]["record"]) if rows else None

    def newest_contract(self, name: str) -> Contract | None:
        """Return the contract of this name that was accepted last."""
        rows = self._rows("SELECT record FROM contracts WHERE name = %s ORDER BY seen DESC LIMIT 1", name)
        return Contract.model_validate(rows[0]["record"]) if rows else None

    def accept_contract(self, contract: Contract, fact: Fact) -> None:
        """Remember a contract as the newest of its name."""
        with self._transaction() as run:
            run.execute("DELETE FROM contracts WHERE digest = %s", (contract.digest,))
            run.execute(
                "INSERT INTO contracts (digest, name, record) VALUES (%s, %s, %s)",
                (contract.digest, contract.name, _json(contract.model_dump(mode="json"))),
            )
            _tell(run, fact)

    # What is still to be told.

    def find(self, fact: Fact) -> bool:
        """Write down a finding; False if that very one was written down before."""
        with self._transaction() as run:
            return _tell(run, fact, once=True)

    def untold(self) -> tuple[Fact, ...]:
        return tuple(map(fact_in, self._rows("SELECT * FROM facts WHERE NOT told ORDER BY place")))

    def told(self, key: str) -> None:
        with self._transaction() as run:
            run.execute("UPDATE facts SET told = true WHERE key = %s", (key,))

    def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with self._transaction() as run:
            return run.execute(query.encode(), values).fetchall()

    @contextmanager
    def _transaction(self) -> Generator[psycopg.Connection[dict[str, Any]]]:
        import psycopg
        from psycopg.rows import dict_row

        with self._turn:
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg.Connection[dict[str, Any]].connect(
                        host=self._options["host"],
                        user=self._options["user"],
                        password=self._options["password"],
                        dbname=self._options["dbname"],
                        connect_timeout=5,
                        autocommit=True,
                        application_name="wellspring enclave",
                        row_factory=dict_row,
                    )
                connection = self._connection
                with connection.transaction():
                    yield connection
            except (psycopg.OperationalError, psycopg.InterfaceError) as wrong:
                # Its own text may quote a row: the kind is all that leaves.
                raise Unavailable(
                    f"the enclave's database does not answer ({type(wrong).__name__})", fix="see `wellspring status`"
                ) from None
            except psycopg.Error as wrong:
                raise Broken(
                    f"the enclave's database refused a change ({type(wrong).__name__})",
                    fix="keep everything as it is, and see the database's log",
                ) from None


def _tell(run: psycopg.Connection[dict[str, Any]], fact: Fact, *, once: bool = False) -> bool:
    values = (
        fact.key,
        fact.action,
        fact.subject,
        _json([ref.model_dump(mode="json") for ref in fact.inputs]),
        _json([ref.model_dump(mode="json") for ref in fact.outputs]),
        _json(fact.facts),
    )
    query = "INSERT INTO facts (key, action, subject, inputs, outputs, facts) VALUES (%s, %s, %s, %s, %s, %s)"
    if once:
        query += " ON CONFLICT DO NOTHING"
    return run.execute(query.encode(), values).rowcount == 1


def _insert_part(run: psycopg.Connection[dict[str, Any]], part: Part) -> None:
    run.execute(
        "INSERT INTO parts VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            *part[:4],
            _json(part.verdict.model_dump(mode="json")),
            *part[5:9],
            _json(reasons_out(part.reasons)),
            part.rows_digest,
            part.settled,
        ),
    )


def _json(value: object) -> Any:
    from psycopg.types.json import Jsonb

    return Jsonb(value)
