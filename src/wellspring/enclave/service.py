"""What the enclave does when it is asked: the Vault, from the inside.

One act at a time. Each begins by telling what a crash left untold and by ending what is past its retention; each change
is one transaction with its fact (see `facts.py`), so an act that was killed anywhere is simply asked again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from wellspring.data import land
from wellspring.data.sources.port import Fetched, Source
from wellspring.enclave import facts, judging, retention
from wellspring.enclave.findings import Findings
from wellspring.enclave.judging import Judgement
from wellspring.enclave.listing import is_same, listing
from wellspring.enclave.opening import Opener
from wellspring.enclave.promises import Promises
from wellspring.errors import Broken, NotFound, Refused, Unavailable
from wellspring.project import Project
from wellspring.records.clock import Clock
from wellspring.records.data import Contract, Drop, Intake, Listed, QuarantinedRow
from wellspring.records.observe import Step
from wellspring.records.record import stamp
from wellspring.records.verdict import Verdict
from wellspring.trust.keys.port import Keys
from wellspring.trust.vault.kept import Fact, Kept, Part
from wellspring.trust.vault.port import Progress
from wellspring.trust.vault.postgres import VaultStore


class Ports(NamedTuple):
    """What the enclave works with. source: opens a source of the project by its name. folder: of the originals."""

    project: Project
    store: VaultStore
    keys: Keys
    source: Callable[[str], Source]
    folder: Path
    step: Step
    clock: Clock


class Enclave:
    """Implements Vault."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        # No RLock: that one lets in whoever inherits the thread id of an owner that has ended.
        self._turn = threading.Lock()
        self._findings = Findings(ports.store, ports.step)
        self._promises = Promises(ports.project, ports.store, step=ports.step, clock=ports.clock)
        self._opener = Opener(ports.store, ports.keys, folder=ports.folder)
        self.keep_house()

    def keep_house(self) -> None:
        """Finish what a kill cut short, end what is past its date, and record an original that still opens after that.

        Called at start, before each intake and hourly.
        """
        with self._turn:
            self._keep_house()

    def _keep_house(self) -> None:
        """Do it with the turn held."""
        store, folder, step = self._ports.store, self._ports.folder, self._ports.step
        # First the files: an entry that says "removed" is told only after its file is.
        retention.tidy(store, folder=folder)
        facts.tell_untold(store, step=step, journals=self._ports.project.journals)
        now = self._ports.clock.now()
        retention.sweep(store, folder=folder, step=step, now=now)
        for kept in retention.overdue(store, keys=self._ports.keys, folder=folder, now=now):
            self._findings.overdue(kept)

    def rest(self, *, patience: float = 8.0) -> None:
        """Let the act under way end, and begin no other: the process is about to close what acts work with."""
        # Never released: whoever still waits for a turn gets none.
        self._turn.acquire(timeout=patience)

    def listing(self, source: str) -> tuple[Listed, ...]:
        with self._turn:
            self._keep_house()
            opened, known = self._source(source), self._promises.every()
            return listing(source, opened, promised=known, store=self._ports.store, findings=self._findings)

    def intake(self, source: str, name: str, contract_digest: str, *, progress: Progress | None = None) -> Intake:
        tell = progress or _quiet
        with self._turn:
            self._keep_house()
            opened = self._source(source)
            if personal := self._findings.personal_name(source, name):
                raise NotFound(
                    f"{personal!r} is left alone: its name holds personal data", fix="ask the vendor to rename it"
                )
            contract = self._promises.accepted(contract_digest, source=source, name=name)
            kept = self._ports.store.named(source, name)
            if kept is None:
                kept = self._land(source, name, opened, contract, tell)
            else:
                self._unchanged(kept, opened)
            parts = self._ports.store.parts(kept.drop.id)
            return self._again(kept, parts[0], tell) if parts else self._admit(kept, tell)

    def replay(self, drop: str, contract_digest: str, *, progress: Progress | None = None) -> Intake:
        tell = progress or _quiet
        with self._turn:
            self._keep_house()
            kept = self._ports.store.drop(drop)
            contract = self._promises.accepted(contract_digest)
            if contract.name != kept.drop.contract:
                raise Refused(
                    f"{kept.drop.subject} came under {kept.drop.contract}, not under {contract.name}",
                    fix=f"name a version of {kept.drop.contract}",
                )
            parts = self._ports.store.parts(drop)
            if not parts:
                raise Refused(f"{kept.drop.subject} was not judged yet", fix="run `wellspring receive` first")
            if parts[-1].part > 0 and not parts[-1].settled:
                return self._again(kept, parts[-1], tell)
            return self._readmit(kept, parts[-1].part + 1, contract, tell)

    def settled(self, drop: str, part: int) -> None:
        with self._turn:
            self._keep_house()
            kept, store, step = self._ports.store.drop(drop), self._ports.store, self._ports.step
            found = [one for one in store.parts(drop) if one.part == part]
            if not found:
                raise NotFound(f"{kept.drop.subject} has no part {part}", fix="settle what an intake or a replay named")
            if found[0].settled:
                return
            fact = Fact(f"settle/{drop}/{part}", "settle", kept.drop.subject, (), (), {"part": part})
            with step("settle", kept.drop.subject) as act:
                facts.fill(act, fact)
                store.settle(drop, part, fact)
                step.reached("enclave.settle:confirmed")
            store.told(fact.key)

    def quarantined(self, drop: str | None = None) -> tuple[QuarantinedRow, ...]:
        with self._turn:
            store = self._ports.store
            drops = store.drops() if drop is None else (store.drop(drop),)
            return tuple(row for kept in drops for row in self._opener.shown(kept))

    def _land(self, source: str, name: str, opened: Source, contract: Contract, tell: Progress) -> Kept:
        step, store = self._ports.step, self._ports.store
        fetched = self._fetch(source, name, opened, tell)
        subject = f"drop:{land.drop_id(source, name, fetched.digest)}"
        with step("land", subject) as act:
            original = land.land(
                fetched.content,
                source=source,
                name=name,
                contract=contract,
                keys=self._ports.keys,
                folder=self._ports.folder,
                received=self._ports.clock.now(),
            )
            step.reached("enclave.land:original_written")
            kept = Kept(original.drop, fetched.modified, original.digest, original.wrapped, original.retention_until)
            fact = facts.landed(kept)
            facts.fill(act, fact)
            store.keep(kept, fact)
        step.reached("enclave.land:recorded")
        store.told(fact.key)
        return kept

    def _fetch(self, source: str, name: str, opened: Source, tell: Progress) -> Fetched:
        opened.look(name)
        try:
            return opened.fetch(name, progress=lambda done, total: tell("fetch", done, total))
        except NotFound:
            # It was there a moment ago.
            self._findings.record("deleted_while_read", source, name, "the file was deleted while it was read")
            raise

    def _unchanged(self, kept: Kept, opened: Source) -> None:
        """Make sure that a known name still carries the known bytes. Raises Broken, after recording the finding."""
        try:
            found = opened.look(kept.drop.name)
            if is_same(kept, found, opened, self._ports.store):
                return
        except (NotFound, Unavailable):
            # Gone over there, or nobody to ask: what was kept is what was received.
            return
        self._findings.changed(kept, stamp(found.modified))
        raise Broken(
            f"{kept.drop.name} of {kept.drop.source} was {kept.drop.subject}, and now has other bytes under its name",
            fix="ask the vendor which is right; a correction comes under a new name",
        )

    def _admit(self, kept: Kept, tell: Progress) -> Intake:
        step, store, drop = self._ports.step, self._ports.store, kept.drop
        contract = self._promises.known(drop.contract_digest)
        with step("admit", drop.subject) as act:
            judgement = judging.judge(
                self._opener.original(kept),
                contract,
                self._opener.tokenizer(contract),
                subject=drop.subject,
                progress=tell,
            )
            part = _part(drop, 0, contract, judgement, drop.known_since)
            fact = facts.admitted(kept, part, contract, judgement)
            facts.fill(act, fact)
            store.admit(part, self._opener.sealed(kept, judgement), fact)
            step.reached("enclave.admit:quarantined")
        step.reached("enclave.admit:recorded")
        store.told(fact.key)
        return _intake(kept, part, contract, judgement)

    def _readmit(self, kept: Kept, number: int, contract: Contract, tell: Progress) -> Intake:
        step, store, drop = self._ports.step, self._ports.store, kept.drop
        faults = store.waiting(drop.id)
        if not faults:
            raise NotFound(f"no row of {drop.subject} waits", fix="see `wellspring quarantine list`")
        with step("admit", drop.subject) as act:
            judgement = judging.judge_waiting(
                self._opener.original(kept),
                faults,
                contract,
                self._opener.tokenizer(contract),
                subject=drop.subject,
                progress=tell,
            )
            if judgement.admitted == 0:
                raise Refused(
                    f"none of the {len(faults)} rows of {drop.subject} keeps {contract.name} {contract.version}",
                    fix="mend the contract if it was wrong, or ask the vendor for a correction under a new name",
                    verdict=Verdict(subject=drop.subject, outcome="fail", reasons=judgement.reasons),
                )
            part = _part(drop, number, contract, judgement, self._ports.clock.now())
            fact = facts.admitted(kept, part, contract, judgement)
            facts.fill(act, fact)
            store.readmit(part, judgement.row_numbers, self._opener.sealed(kept, judgement), fact)
            step.reached("enclave.replay:chosen")
        step.reached("enclave.replay:recorded")
        store.told(fact.key)
        return _intake(kept, part, contract, judgement)

    def _again(self, kept: Kept, part: Part, tell: Progress) -> Intake:
        """Answer a part as it was answered before. Raises NotFound when its retention ended, Broken if it differs."""
        drop, contract = kept.drop, self._promises.known(part.contract_digest)
        if not part.verdict.passed:
            stopped = Judgement(part.verdict, part.received, 0, part.reasons, (), None, part.rows_digest, {})
            return _intake(kept, part, contract, stopped)
        if part.part and kept.wrapped is None:
            self._give_up(kept, part)
        content, tokens = self._opener.original(kept), self._opener.tokenizer(contract)
        if part.part:
            faults = self._ports.store.waiting(drop.id, part=part.part)
            judgement = judging.judge_waiting(content, faults, contract, tokens, subject=drop.subject, progress=tell)
        else:
            judgement = judging.judge(content, contract, tokens, subject=drop.subject, progress=tell)
        if judgement.rows_digest != part.rows_digest:
            raise Broken(
                f"{drop.subject} part {part.part} is no longer judged as it was",
                fix="keep everything as it is; do not retry",
            )
        return _intake(kept, part, contract, judgement)

    def _give_up(self, kept: Kept, part: Part) -> None:
        """Discard the rows of a replay that nobody settled before the original's retention ended."""
        store, drop = self._ports.store, kept.drop
        rows = store.waiting(drop.id, part=part.part)
        noted: dict[str, JsonValue] = {"discarded": len(rows), "part": part.part}
        fact = Fact(f"retain/{drop.id}/{part.part}", "retain", drop.subject, (), (), noted)
        with self._ports.step("retain", drop.subject) as act:
            facts.fill(act, fact)
            store.discard(drop.id, part.part, fact)
        store.told(fact.key)

    def _source(self, name: str) -> Source:
        self._ports.project.source(name)
        return self._ports.source(name)


def _part(drop: Drop, number: int, contract: Contract, judgement: Judgement, known_since: datetime) -> Part:
    return Part(
        drop=drop.id,
        part=number,
        contract_digest=contract.digest,
        known_since=known_since,
        verdict=judgement.verdict,
        received=judgement.received,
        admitted=judgement.admitted,
        quarantined=len(judgement.waiting),
        masked=judgement.masked,
        reasons=judgement.reasons,
        rows_digest=judgement.rows_digest,
    )


def _intake(kept: Kept, part: Part, contract: Contract, judgement: Judgement) -> Intake:
    drop = kept.drop.model_copy(
        update={
            "part": part.part,
            "known_since": part.known_since,
            "contract": contract.name,
            "contract_version": contract.version,
            "contract_digest": contract.digest,
        }
    )
    return Intake(
        drop=drop,
        verdict=part.verdict,
        received=part.received,
        admitted=part.admitted,
        quarantined=part.quarantined,
        masked=part.masked,
        reasons=part.reasons,
        rows_digest=part.rows_digest,
        table=judgement.table,
    )


def _quiet(_stage: str, _done: int, _total: int) -> None:
    return None
