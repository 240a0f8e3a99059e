"""Index of the drops by what is still to be done about them: derived from the ledger, kept between runs in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from wellspring.data.intake.reconciliation import discarded_parts, reconcile_drop
from wellspring.records.ingestion import RowAccount
from wellspring.records.trust import Entry, IndexedEntry
from wellspring.stores.derived_file import open_derived_file
from wellspring.trust.ledger.index import LedgerIndex

DROPS_FILE = "drops.sqlite"
"""In the lake's folder; derived data, which can be removed at any time."""
_FORMAT = 2
_SCHEMA = f"""
create table if not exists cursor (next_index integer not null, last_id text not null);
create table if not exists drops (
  drop_id text primary key, land_index integer not null, source text not null, contract text not null,
  is_stopped integer not null default 0, is_valid integer not null default 0, alert_index integer,
  received integer not null default 0, admitted integer not null default 0, quarantined integer not null default 0,
  rejected integer not null default 0, discarded integer not null default 0, copies integer not null default 0,
  withdrawn integer not null default 0, is_withdrawn integer not null default 0
) without rowid;
create index if not exists drops_by_age on drops (land_index);
create index if not exists stopped_drops on drops (source, land_index) where is_stopped;
create index if not exists valid_drops on drops (contract, land_index) where is_valid;
create table if not exists parts (
  drop_id text not null, replay_number integer not null, contract_digest text not null default '',
  admitted integer not null default 0, is_published integer not null default 0, is_settled integer not null default 0,
  is_discarded integer not null default 0, primary key (drop_id, replay_number)
) without rowid;
create index if not exists unsettled_parts on parts (drop_id) where is_published and not is_settled;
create index if not exists waiting_parts on parts (drop_id)
  where admitted > 0 and not is_published and not is_discarded;
create table if not exists intents (
  edition text not null, drop_id text not null, replay_number integer not null,
  primary key (edition, drop_id, replay_number)
) without rowid;
create table if not exists findings (
  finding_id text primary key, source text not null, code text not null, state text not null
) without rowid;
create index if not exists current_findings on findings (source) where state <> 'closed';
pragma user_version = {_FORMAT};
"""
FINDING_STATES = {"finding": "open", "acknowledge": "acknowledged", "resolve": "closed", "reopen": "open"}
"""The state of a finding after an entry, by action."""
_ACTIONS = (
    "land", "admit", "alert", "settle", "expire", "withdraw", "rejudge", "discard", "publish", *FINDING_STATES
)  # fmt: skip
_WAITING = "admitted > 0 and not is_published and not is_discarded"
_COUNTS = ("received", "waiting", "quarantined", "rejected", "discarded", "copies", "withdrawn")
"""The fields of an account in the order of their columns; rows that were admitted wait until the lake has them."""


class ReplayedPart(NamedTuple):
    """A part of a drop. contract_digest: of the contract that admitted it."""

    drop: str
    replay_number: int
    contract_digest: str


class WaitingAdmission(NamedTuple):
    """A drop with rows that wait to be published. contract_digest: of the contract version that admitted them."""

    drop: str
    contract: str
    contract_digest: str


class DropState(NamedTuple):
    """Source, contract and state of a drop. is_stopped: rejected as a whole. is_withdrawn: a user took it out."""

    source: str
    contract: str
    is_stopped: bool
    is_withdrawn: bool


class CurrentFinding(NamedTuple):
    """A finding that is open or acknowledged."""

    id: str
    code: str
    state: str


class DropIndex:
    """The drops and their parts, and the findings about files, as the ledger describes them.

    path: of the SQLite file, which is made anew when it cannot be read or belongs to another log; None for an index in
    memory. Each query adds the entries that are new in the ledger's index, so it costs those and what it returns.
    """

    def __init__(self, path: Path | None, ledger: LedgerIndex) -> None:
        self._path = path
        self._ledger = ledger
        self._file: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def list_stopped(self, source: str) -> dict[str, str]:
        """Return the drops (id -> contract) that hold back the set of a source.

        A stopped drop is replaced by a valid drop of its contract that landed after the alert: not by another file of
        the same batch, which is unrelated to it, and not by a drop without any admitted row.
        """
        rows = self._select(
            "select drop_id, contract from drops as stopped where source = ? and is_stopped and not exists (select 1"
            " from drops as valid where valid.is_valid and valid.contract = stopped.contract"
            " and valid.source = stopped.source and valid.land_index > stopped.alert_index) order by land_index",
            source,
        )
        return dict(rows)

    def list_unsettled(self) -> list[tuple[str, int]]:
        """List the published parts, by drop and replay number, that were not confirmed to the enclave."""
        return self._select("select drop_id, replay_number from parts where is_published and not is_settled")

    def list_waiting_replays(self) -> list[ReplayedPart]:
        """List the replayed parts with rows that are neither published nor discarded."""
        rows = self._select(
            f"select drop_id, replay_number, contract_digest from parts where {_WAITING} and replay_number > 0"  # noqa: S608
        )
        return [ReplayedPart(*row) for row in rows]

    def list_waiting_admissions(self, source: str) -> list[WaitingAdmission]:
        """List the drops of a source whose admitted rows are neither published nor discarded."""
        rows = self._select(
            "select drop_id, d.contract, p.contract_digest from parts p join drops d using (drop_id)"
            " where p.admitted > 0 and not p.is_published and not p.is_discarded and p.replay_number = 0"
            " and d.source = ? order by d.land_index",
            source,
        )
        return [WaitingAdmission(*row) for row in rows]

    def list_current_findings(self, source: str) -> list[CurrentFinding]:
        """List the findings of a source that are open or acknowledged."""
        rows = self._select(
            "select finding_id, code, state from findings where source = ? and state <> 'closed' order by finding_id",
            source,
        )
        return [CurrentFinding(*row) for row in rows]

    def is_closed(self, finding_id: str) -> bool:
        """Return whether a finding is closed."""
        return bool(self._select("select 1 from findings where finding_id = ? and state = 'closed'", finding_id))

    def count_drops(self) -> int:
        """Return the number of drops."""
        return int(self._select("select count(*) from drops")[0][0])

    def list_drops(self, *, newest: int | None = None) -> list[str]:
        """List the drops in the order in which they landed; newest: only so many of them."""
        rows = self._select(
            "select drop_id from drops order by land_index desc limit ?", -1 if newest is None else newest
        )
        return [row[0] for row in reversed(rows)]

    def list_states(self, drops: Iterable[str]) -> dict[str, DropState]:
        """Return source, contract and state of drops, in their order; those that have not landed are left out."""
        listed = list(drops)
        rows = self._select(
            "select drop_id, source, contract, is_stopped, is_withdrawn from drops"
            " where drop_id in (select value from json_each(?))",
            json.dumps(listed),
        )
        states = {drop: DropState(source, contract, *map(bool, flags)) for drop, source, contract, *flags in rows}
        return {drop: states[drop] for drop in listed if drop in states}

    def list_waiting_drops(self, *, oldest: int) -> list[str]:
        """List some drops with rows that are neither published nor discarded: those that landed first."""
        rows = self._select(
            f"select drop_id from drops where drop_id in (select drop_id from parts where {_WAITING})"  # noqa: S608
            " order by land_index limit ?",
            oldest,
        )
        return [row[0] for row in rows]

    def list_accounts(self, drops: Iterable[str]) -> dict[str, RowAccount]:
        """Return the row accounts of drops, in their order, as if no row of them were published."""
        listed = list(drops)
        rows = self._select(
            f"select drop_id, {_column_list()} from drops where drop_id in (select value from json_each(?))",  # noqa: S608
            json.dumps(listed),
        )
        accounts = {drop: RowAccount(**dict(zip(_COUNTS, counts, strict=True))) for drop, *counts in rows}
        return {drop: accounts[drop] for drop in listed if drop in accounts}

    def sum_accounts(self) -> RowAccount:
        """Return the sum of the row accounts of all drops, as if no row were published."""
        sums = ", ".join(f"coalesce(sum({column}), 0)" for column in _column_list().split(", "))
        return RowAccount(**dict(zip(_COUNTS, self._select(f"select {sums} from drops")[0], strict=True)))  # noqa: S608

    # --- from the ledger ------------------------------------------------------------------------------------------

    def _refresh(self, file: sqlite3.Connection) -> None:
        """Add the new entries of the ledger, in one transaction."""
        count = self._ledger.count_entries()
        next_index, last_id = file.execute("select next_index, last_id from cursor").fetchone() or (0, "")
        if next_index and self._identify(next_index - 1) != last_id:
            # The ledger was replaced by another one, or by an older copy.
            for table in ("drops", "parts", "intents", "findings"):
                file.execute(f"delete from {table}")  # noqa: S608 (fixed names)
            next_index = 0
        elif next_index >= count:
            return
        touched: set[str] = set()
        for indexed in sorted(self._list_entries(next_index), key=lambda indexed: indexed.index):
            touched |= _add_entry(file, indexed)
        for drop in sorted(touched):
            self._update_drop(file, drop)
        file.execute("delete from cursor")
        file.execute("insert into cursor values (?, ?)", (count, self._identify(count - 1)))
        file.commit()

    def _identify(self, tree_index: int) -> str:
        """Return what identifies an entry of the ledger; an empty text without one."""
        entries = [indexed.entry for indexed in self._ledger.read_entries([tree_index])]
        return f"{entries[0].id} {entries[0].trace} {entries[0].known_since.isoformat()}" if entries else ""

    def _list_entries(self, after: int) -> Iterator[IndexedEntry]:
        for action in _ACTIONS:
            yield from self._ledger.list_entries(action=action, phase="done", after=after)
        yield from self._ledger.list_entries(action="publish", phase="intent", after=after)

    def _update_drop(self, file: sqlite3.Connection, drop: str) -> None:
        """Count the rows of a drop again from all its entries, and mark the parts that were discarded."""
        entries = self._ledger.list_entries(subject=f"drop:{drop}", phase="done")
        account = reconcile_drop(entries, published=0)
        assignments = ", ".join(f"{column} = ?" for column in _column_list().split(", "))
        counts = [getattr(account, name) for name in _COUNTS]
        file.execute(f"update drops set {assignments} where drop_id = ?", (*counts, drop))  # noqa: S608 (fixed names)
        file.executemany(
            "update parts set is_discarded = 1 where drop_id = ? and replay_number = ?",
            [(drop, replay_number) for replay_number in discarded_parts(entries)],
        )

    def _select(self, sql: str, *values: Any) -> list[Any]:
        if self._file is None:
            self._file = open_derived_file(self._path, _SCHEMA, format_version=_FORMAT)
        try:
            self._refresh(self._file)
        finally:
            self._file.rollback()
        return self._file.execute(sql, values).fetchall()


def _add_entry(file: sqlite3.Connection, indexed: IndexedEntry) -> set[str]:
    """Add one entry, and return the drops whose account it may change."""
    entry = indexed.entry
    if entry.action == "publish":
        _add_publish(file, entry)
        return set()
    if entry.action in FINDING_STATES:
        _add_finding(file, entry)
    if entry.action in FINDING_STATES or not entry.subject.startswith("drop:"):
        return set()
    drop, replay_number = entry.subject.removeprefix("drop:"), entry.count("replay_number")
    if entry.action == "land":
        source = next((ref.name for ref in entry.inputs if ref.name.startswith("source:")), "source:/")
        file.execute(
            "insert or replace into drops (drop_id, land_index, source, contract) values (?, ?, ?, ?)",
            (drop, indexed.index, source.removeprefix("source:").partition("/")[0], entry.text("contract")),
        )
    elif entry.action == "admit":
        _add_admission(file, entry, drop, replay_number)
    elif entry.action in {"withdraw", "rejudge"}:
        # What an earlier admission left is void.
        update = "update drops set is_stopped = 0, is_valid = 0, alert_index = null, is_withdrawn = ? where drop_id = ?"
        file.execute(update, (entry.action == "withdraw", drop))
        file.execute("delete from parts where drop_id = ?", (drop,))
    elif entry.action == "alert":
        file.execute("update drops set alert_index = ? where drop_id = ?", (indexed.index, drop))
    elif entry.action == "settle":
        _insert_part(file, drop, replay_number)
        update = "update parts set is_settled = 1 where drop_id = ? and replay_number = ?"
        file.execute(update, (drop, replay_number))
    return {drop}


def _add_admission(file: sqlite3.Connection, entry: Entry, drop: str, replay_number: int) -> None:
    contract = next((ref.digest for ref in entry.inputs if ref.name.startswith("contract:")), None)
    _insert_part(file, drop, replay_number)
    file.execute(
        "update parts set contract_digest = ?, admitted = ? where drop_id = ? and replay_number = ?",
        (contract or "", entry.count("admitted"), drop, replay_number),
    )
    if replay_number == 0:
        passed = entry.facts.get("outcome") == "pass"
        file.execute(
            "update drops set is_stopped = ?, is_valid = ? where drop_id = ?",
            (not passed, passed and entry.count("admitted") > 0, drop),
        )


def _add_publish(file: sqlite3.Connection, entry: Entry) -> None:
    """Remember the rows that an intent names; the end of the publish marks them as published."""
    if entry.phase == "intent":
        rows = [ref.name.removeprefix("rows:").rpartition("/") for ref in entry.inputs if ref.name.startswith("rows:")]
        file.executemany(
            "insert or ignore into intents values (?, ?, ?)",
            [(entry.subject, drop, int(replay_number)) for drop, _, replay_number in rows],
        )
        return
    parts = file.execute("select drop_id, replay_number from intents where edition = ?", (entry.subject,)).fetchall()
    for drop, replay_number in parts:
        _insert_part(file, drop, replay_number)
    file.executemany("update parts set is_published = 1 where drop_id = ? and replay_number = ?", parts)
    file.execute("delete from intents where edition = ?", (entry.subject,))


def _add_finding(file: sqlite3.Connection, entry: Entry) -> None:
    """Add a finding of the enclave, or a change of its state by the worker."""
    state = FINDING_STATES[entry.action]
    if entry.action == "finding" and entry.service == "enclave":
        values = (entry.text("finding"), entry.text("source"), entry.text("code"), state)
        file.execute("insert or ignore into findings values (?, ?, ?, ?)", values)
    elif entry.owner == "worker" and entry.subject.startswith("finding:"):
        change = (state, entry.subject.removeprefix("finding:"))
        file.execute("update findings set state = ? where finding_id = ?", change)


def _insert_part(file: sqlite3.Connection, drop: str, replay_number: int) -> None:
    file.execute("insert or ignore into parts (drop_id, replay_number) values (?, ?)", (drop, replay_number))


def _column_list() -> str:
    return ", ".join("admitted" if name == "waiting" else name for name in _COUNTS)


def add_published(account: RowAccount, published: int) -> RowAccount:
    """Return an account of the ledger with the number of rows that the lake has published."""
    return account.model_copy(update={"published": published, "waiting": account.waiting - published})
