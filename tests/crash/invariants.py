"""Invariants that must hold after a crash once `ingest` has run again. Pure functions of an observation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class SentFile(NamedTuple):
    """One file in the vendor's outbox.

    bad, repairable: numbers of the rows that are quarantined; the repairable ones until a replay. gone: the retention
    of the file has ended, so its quarantined rows were discarded.
    """

    name: str
    rows: int
    bad: frozenset[int]
    repairable: frozenset[int]
    replayed: bool = False
    gone: bool = False

    @property
    def quarantined(self) -> frozenset[int]:
        """The rows that must be in quarantine now."""
        return self.bad if self.replayed else self.bad | self.repairable

    @property
    def published(self) -> frozenset[int]:
        """The rows that readers must see exactly once."""
        return frozenset(range(1, self.rows + 1)) - self.quarantined


class Observed(NamedTuple):
    """The state of a project, observed through its commands and files.

    accounts: by drop subject, from `status`. entries: the whole ledger, in order. ledger: error of `ledger verify`.
    journals: sequences by service. editions: by id; pointer: the live edition. rows: (drop, row number) of every row of
    that edition. quarantined: number of rows by drop. lineage: files with a torn line. open_jobs: not ended.
    """

    sent: tuple[SentFile, ...]
    accounts: Mapping[str, Mapping[str, Any]]
    entries: tuple[Mapping[str, Any], ...]
    ledger: str
    journals: Mapping[str, list[int]]
    editions: Mapping[str, Mapping[str, Any]]
    pointer: str | None
    rows: list[tuple[str, int]]
    quarantined: Mapping[str, int]
    lineage: list[str]
    open_jobs: tuple[str, ...] = ()


def find_violations(observed: Observed) -> list[str]:
    """Describe every violated invariant in a sentence."""
    rules = (_ledger, _files, _rows, _publishes, _quarantine, _jobs)
    return [violation for rule in rules for violation in rule(observed)]


def _jobs(observed: Observed) -> Iterator[str]:
    """A job that a crash interrupted has ended by the time that a later one has."""
    yield from (f"the job {job} has not ended" for job in observed.open_jobs)


def _done(observed: Observed, action: str) -> Iterator[Mapping[str, Any]]:
    return (entry for entry in observed.entries if entry["action"] == action and entry["phase"] == "done")


def _ledger(observed: Observed) -> Iterator[str]:
    if observed.ledger:
        yield f"the ledger does not verify: {observed.ledger}"
    ledger_sequences: dict[str, list[int]] = {}
    for entry in observed.entries:
        ledger_sequences.setdefault(entry["service"], []).append(entry["sequence"])
    for service, sequences in ledger_sequences.items():
        if sequences != list(range(len(sequences))):
            yield f"the ledger holds entries of {service} twice, out of order, or with a gap"
    for service, sequences in observed.journals.items():
        if sequences != list(range(len(sequences))):
            yield f"the journal of {service} has a gap or a double"
        elif len(ledger_sequences.get(service, [])) > len(sequences):
            yield f"the ledger holds entries that the journal of {service} has lost"
    # The enclave and the supervisor may write after the last integration; a job integrates before it ends.
    for service in (name for name in observed.journals if name.partition("-")[0] == "worker"):
        if len(ledger_sequences.get(service, [])) < len(observed.journals[service]) - 1:
            yield f"entries of {service} are not in the ledger"
    yield from (f"a line of lineage/{name} is torn" for name in observed.lineage)


def _files(observed: Observed) -> Iterator[str]:
    """Each file is one drop, landed once and admitted once, and its account matches its rows."""
    landed = [(entry["facts"]["name"], entry["subject"]) for entry in _done(observed, "land")]
    for name, times in Counter(name for name, _ in landed).items():
        if times > 1:
            yield f"{name} landed {times} times"
    admitted = Counter((entry["subject"], entry["facts"]["replay_number"]) for entry in _done(observed, "admit"))
    yield from (f"part {part} of {drop} was admitted {n} times" for (drop, part), n in admitted.items() if n > 1)
    subjects = dict(landed)
    for file in observed.sent:
        account = observed.accounts.get(subjects.get(file.name, ""))
        if account is None:
            yield f"{file.name} has no account"
            continue
        quarantined = 0 if file.gone else len(file.quarantined)
        expected = {
            "received": file.rows,
            "published": len(file.published),
            "quarantined": quarantined,
            "discarded": len(file.quarantined) - quarantined,
            "rejected": 0,
            "waiting": 0,
        }
        actual = {name: account[name] for name in expected}
        if actual != expected:
            yield f"the account of {file.name} is {actual}, not {expected}"
        if not account["balanced"]:
            yield f"the account of {file.name} does not balance"


def _rows(observed: Observed) -> Iterator[str]:
    """Every row that must be published is published once, and no other row."""
    drops = {entry["facts"]["name"]: entry["subject"].removeprefix("drop:") for entry in _done(observed, "land")}
    duplicates = [row for row, times in Counter(observed.rows).items() if times > 1]
    if duplicates:
        yield f"{len(duplicates)} rows are published twice"
    published_rows: dict[str, set[int]] = {}
    for drop, number in observed.rows:
        published_rows.setdefault(drop, set()).add(number)
    for file in observed.sent:
        rows = published_rows.pop(drops.get(file.name, ""), set())
        if lost := file.published - rows:
            yield f"{len(lost)} rows of {file.name} are lost"
        if extra := rows - file.published:
            yield f"{len(extra)} rows of {file.name} are published but must be quarantined"
    yield from (f"rows of {drop} are published, but no file was sent for it" for drop in published_rows)


def _publishes(observed: Observed) -> Iterator[str]:
    """Publishes and ledger entries match, no intent is open, and every part is settled."""
    lineage: list[str] = []
    edition = observed.pointer
    while edition is not None and edition not in lineage:
        lineage.append(edition)
        edition = observed.editions.get(edition, {}).get("parent")
    recorded = Counter(entry["subject"].removeprefix("edition:") for entry in _done(observed, "publish"))
    yield from (f"edition {name} is published without an entry" for name in lineage if name not in recorded)
    yield from (f"edition {name} has an entry but is not published" for name in recorded if name not in lineage)
    yield from (f"the publish of edition {name} was recorded {n} times" for name, n in recorded.items() if n > 1)
    yield from (f"edition {name} was written but never published" for name in observed.editions if name not in lineage)
    settled = {entry["intent"] for entry in observed.entries if entry["intent"] and entry["phase"] != "intent"}
    for entry in observed.entries:
        name = f"{entry['service']}:{entry['sequence']}"
        if entry["phase"] == "intent" and name not in settled:
            yield f"the intent {name} ({entry['action']} {entry['subject']}) is open"
    # Include intents: for a publish that recovery settled, only the intent lists the rows.
    publishes = [
        entry for entry in observed.entries if entry["action"] == "publish" and entry["phase"] in {"intent", "done"}
    ]
    published = {ref["name"].removeprefix("rows:") for publish in publishes for ref in publish["inputs"]}
    confirmed = Counter(
        f"{entry['subject'].removeprefix('drop:')}/{entry['facts']['replay_number']}"
        for entry in _done(observed, "settle")
    )
    yield from (f"rows {name} are published but never settled" for name in published - set(confirmed))
    yield from (f"rows {name} were settled {n} times" for name, n in confirmed.items() if n > 1)


def _quarantine(observed: Observed) -> Iterator[str]:
    """The rows quarantined in the enclave match the accounts."""
    for subject, account in observed.accounts.items():
        inside = observed.quarantined.get(subject.removeprefix("drop:"), 0)
        if inside != account["quarantined"]:
            yield f"{inside} rows of {subject} are quarantined, but its account says {account['quarantined']}"
