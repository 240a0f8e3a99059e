"""What must hold after any crash, once `receive` has run again. Pure: what was seen in, what is wrong out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Sent(NamedTuple):
    """One file in the vendor's outbox. bad, repairable: row numbers that wait; the repairable ones until a replay.

    gone: its retention has ended, so what waited was discarded.
    """

    name: str
    rows: int
    bad: frozenset[int]
    repairable: frozenset[int]
    replayed: bool = False
    gone: bool = False

    @property
    def waiting(self) -> frozenset[int]:
        """The rows that must wait in quarantine now."""
        return self.bad if self.replayed else self.bad | self.repairable

    @property
    def published(self) -> frozenset[int]:
        """The rows that readers must see, each once."""
        return frozenset(range(1, self.rows + 1)) - self.waiting


class Observed(NamedTuple):
    """A house from outside.

    accounts: by drop subject, from `status`. entries: the whole ledger, in order. ledger: what `ledger verify` found
    wrong. journals: sequences by service. editions: by id; pointer: what readers see. rows: (drop, row number) of every
    row of that edition. waiting: rows in quarantine by drop. lineage: outboxes with a torn line.
    """

    sent: tuple[Sent, ...]
    accounts: Mapping[str, Mapping[str, Any]]
    entries: tuple[Mapping[str, Any], ...]
    ledger: str
    journals: Mapping[str, list[int]]
    editions: Mapping[str, Mapping[str, Any]]
    pointer: str | None
    rows: list[tuple[str, int]]
    waiting: Mapping[str, int]
    lineage: list[str]


def broken(observed: Observed) -> list[str]:
    """List every invariant that does not hold, each as a sentence."""
    return [*_ledger(observed), *_files(observed), *_rows(observed), *_publishes(observed), *_quarantine(observed)]


def _done(observed: Observed, action: str) -> Iterator[Mapping[str, Any]]:
    return (entry for entry in observed.entries if entry["action"] == action and entry["phase"] == "done")


def _ledger(observed: Observed) -> Iterator[str]:
    if observed.ledger:
        yield f"the ledger does not verify: {observed.ledger}"
    current: dict[str, list[int]] = {}
    for entry in observed.entries:
        current.setdefault(entry["service"], []).append(entry["sequence"])
    for service, sequences in current.items():
        if sequences != list(range(len(sequences))):
            yield f"the ledger holds entries of {service} twice, not at all, or out of order"
    for service, sequences in observed.journals.items():
        if sequences != list(range(len(sequences))):
            yield f"the journal of {service} has a gap or a double"
        elif len(current.get(service, [])) > len(sequences):
            yield f"the ledger holds entries that the journal of {service} has lost"
    # The enclave and the supervisor may write after the last integration; the worker integrates before it ends.
    if len(current.get("worker", [])) < len(observed.journals.get("worker", [])) - 1:
        yield "entries of worker are not in the ledger"
    yield from (f"a line of lineage/{name} is torn" for name in observed.lineage)


def _files(observed: Observed) -> Iterator[str]:
    """Each file is one drop, landed once and admitted once, and its account says what became of its rows."""
    landed = [(item["facts"]["name"], item["subject"]) for item in _done(observed, "land")]
    for name, times in Counter(name for name, _ in landed).items():
        if times > 1:
            yield f"{name} landed {times} times"
    admitted = Counter((item["subject"], item["facts"]["replay_number"]) for item in _done(observed, "admit"))
    yield from (f"part {part} of {drop} was admitted {n} times" for (drop, part), n in admitted.items() if n > 1)
    subjects = dict(landed)
    for file in observed.sent:
        account = observed.accounts.get(subjects.get(file.name, ""))
        if account is None:
            yield f"{file.name} has no account"
            continue
        waits = 0 if file.gone else len(file.waiting)
        expected_result = {
            "received": file.rows,
            "published": len(file.published),
            "quarantined": waits,
            "discarded": len(file.waiting) - waits,
            "rejected": 0,
            "waiting": 0,
        }
        output = {name: account[name] for name in expected_result}
        if output != expected_result:
            yield f"the account of {file.name} is {output}, not {expected_result}"
        if not account["balanced"]:
            yield f"the account of {file.name} does not balance"


def _rows(observed: Observed) -> Iterator[str]:
    """No row twice, none lost, none that should wait."""
    drops = {item["facts"]["name"]: item["subject"].removeprefix("drop:") for item in _done(observed, "land")}
    twice = [row for row, times in Counter(observed.rows).items() if times > 1]
    if twice:
        yield f"{len(twice)} rows are published twice"
    matches: dict[str, set[int]] = {}
    for drop, number in observed.rows:
        matches.setdefault(drop, set()).add(number)
    for file in observed.sent:
        project = matches.pop(drops.get(file.name, ""), set())
        if lost := file.published - project:
            yield f"{len(lost)} rows of {file.name} are lost"
        if extra := project - file.published:
            yield f"{len(extra)} rows of {file.name} are published that should wait"
    yield from (f"rows of {drop} are published, and no file was sent for it" for drop in matches)


def _publishes(observed: Observed) -> Iterator[str]:
    """No publish without its entry, no entry without its publish, no intent left open, every part settled."""
    line: list[str] = []
    newest = observed.pointer
    while newest is not None and newest not in line:
        line.append(newest)
        newest = observed.editions.get(newest, {}).get("parent")
    result = Counter(item["subject"].removeprefix("edition:") for item in _done(observed, "publish"))
    yield from (f"edition {item} is published without an entry" for item in line if item not in result)
    yield from (f"edition {item} has an entry and is not published" for item in result if item not in line)
    yield from (
        f"the publish of edition {item} was recorded {times} times" for item, times in result.items() if times > 1
    )
    yield from (
        f"edition {edition} was written and never published" for edition in observed.editions if edition not in line
    )
    settled = {entry["intent"] for entry in observed.entries if entry["intent"] and entry["phase"] != "intent"}
    for entry in observed.entries:
        name = f"{entry['service']}:{entry['sequence']}"
        if entry["phase"] == "intent" and name not in settled:
            yield f"the intent {name} ({entry['action']} {entry['subject']}) is open"
    # From the intents too: what recovery settles is told there.
    publishes = [
        entry for entry in observed.entries if entry["action"] == "publish" and entry["phase"] in {"intent", "done"}
    ]
    published = {ref["name"].removeprefix("rows:") for publish in publishes for ref in publish["inputs"]}
    confirmed = Counter(
        f"{item['subject'].removeprefix('drop:')}/{item['facts']['replay_number']}"
        for item in _done(observed, "settle")
    )
    yield from (f"rows {item} are published and the enclave was never told" for item in published - set(confirmed))
    yield from (f"rows {item} were settled {times} times" for item, times in confirmed.items() if times > 1)


def _quarantine(observed: Observed) -> Iterator[str]:
    """The rows that wait inside the enclave are those that the accounts say."""
    for subject, account in observed.accounts.items():
        inside = observed.waiting.get(subject.removeprefix("drop:"), 0)
        if inside != account["quarantined"]:
            yield f"{inside} rows of {subject} wait in quarantine, and its account says {account['quarantined']}"
