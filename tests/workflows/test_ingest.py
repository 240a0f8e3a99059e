"""The road with its ports played by fakes: what stops a set, what an account says, what a crash leaves to be done.

The same road on real servers is walked in tests/journeys/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from tests.builders.contracts import contract
from tests.builders.drops import admission_counts
from tests.builders.entry_index import Index
from tests.builders.recording_step import Died, FixedClock, RecordingStep
from wellspring import workflows
from wellspring.data.sources.port import file_still_writing
from wellspring.errors import NotFound, Refused
from wellspring.lake.lake import DropRowCount
from wellspring.lake.staging import StagedPart
from wellspring.project import Project
from wellspring.records.contracts import DataContract
from wellspring.records.ingestion import AdmissionResult, Drop, FileFinding, SourceFile
from wellspring.records.lake import Edition
from wellspring.records.trust import IndexedEntry, Ref
from wellspring.records.verdict import Reason, Verdict
from wellspring.trust.ledger.journal import MAX_ENTRY_BYTES, encode_entry
from wellspring.workflows import ingest

SOURCE = "vendor"
CLAIMS = contract(name="claim")
PEOPLE = contract(name="people", digest="1" * 64, files="people_*.csv")
BROKEN = Verdict(subject="drop", outcome="fail", reasons=(Reason(code="missing_column", message="it lacks id"),))


class Lake:
    """Rows of parts: waiting, then published."""

    def __init__(self, step: RecordingStep) -> None:
        self.step = step
        self.waiting: list[StagedPart] = []
        self.published: list[StagedPart] = []
        self.newest: Edition | None = None

    def stage_part(self, taken: AdmissionResult, contract: DataContract, *, step: RecordingStep) -> StagedPart:
        drop = taken.drop
        staged = StagedPart(
            table=contract.name, snapshot_id=1, drop=drop.id, replay_number=drop.replay_number,
            rows=taken.counts.admitted, rows_digest=taken.counts.rows_digest, source=drop.source,
            contract=contract.name, contract_version=contract.version,
        )  # fmt: skip
        if not self.has_part(drop.id, drop.replay_number):
            self.waiting.append(staged)
        return staged

    def staged_parts(self) -> tuple[StagedPart, ...]:
        return tuple(self.waiting)

    def publish(self, source: str, staged: Iterable[StagedPart], *, step: RecordingStep) -> Edition:
        staged = list(staged)
        edition = Edition(
            tenant="acme", known_since=step.clock.now(), id=f"e{len(self.published)}", level="landed",
            parent=self.newest.id if self.newest else None, tables=(), drops=tuple(item.drop for item in staged),
        )  # fmt: skip
        with step("publish", edition.subject, intent=True, inputs=[item.rows_ref for item in staged]):
            self.published += staged
            self.waiting = [item for item in self.waiting if item not in staged]
            self.newest = edition
        return edition

    def recover(self, intents: Iterable[IndexedEntry], *, step: RecordingStep) -> tuple[Edition, ...]:
        for intent in intents:
            step.complete_after_crash("publish", intent.entry.subject, intent.entry.id)
        return ()

    def get_edition(self) -> Edition | None:
        return self.newest

    def index_parts(self) -> Lake:
        return self

    def has_part(self, drop: str, part: int) -> bool:
        return any((item.drop, item.replay_number) == (drop, part) for item in (*self.waiting, *self.published))

    def count_drop_rows(self, drop: str) -> DropRowCount:
        def rows(current: list[StagedPart]) -> int:
            return sum(item.rows for item in current if item.drop == drop)

        return DropRowCount(published=rows(self.published), waiting=rows(self.waiting))


class Vault:
    """An outbox and its enclave. files: what lies there; takes: what each one becomes."""

    def __init__(self, step: RecordingStep) -> None:
        self.step = step
        self.files: list[SourceFile] = []
        self.takes: dict[str, Callable[[], AdmissionResult]] = {}
        self.confirmed: list[tuple[str, int]] = []
        self.requests: list[str] = []

    def list_files(self, source: str) -> tuple[SourceFile, ...]:
        return tuple(self.files)

    def ingest_file(self, source: str, name: str, contract_digest: str, *, progress: Any = None) -> AdmissionResult:
        self.requests.append(name)
        return self.takes[name]()

    def replay_quarantined(self, drop: str, contract_digest: str, *, progress: Any = None) -> AdmissionResult:
        return self.takes[drop]()

    def confirm_published(self, drop: str, part: int) -> None:
        self.confirmed.append((drop, part))
        with self.step("settle", f"drop:{drop}", facts={"replay_number": part}):
            pass


class Sequencer:
    def integrate(self) -> None:
        return


class World:
    """The ports of a `bootstrap.Platform`, as fakes."""

    def __init__(self, *, die_at: str | None = None) -> None:
        self.clock = FixedClock()
        self.step = RecordingStep(clock=self.clock, die_at=die_at, service="worker")
        self.index = Index(self.step)
        self.lake, self.vault, self.sequencer = Lake(self.step), Vault(self.step), Sequencer()
        self.ledger = self
        self.project = Project.model_validate(
            {"project": {"name": "tests", "tenant": "acme"}, "sources": {SOURCE: {"kind": "sftp"}}, "root": "/nowhere"}
        )

    def sends(
        self, name: str, *, received: int = 10, quarantined: int = 0, good: bool = True,
        data_contract: DataContract = CLAIMS, source: str = SOURCE,
    ) -> str:  # fmt: skip
        """Put a file into the outbox; returns its drop's id."""
        drop = f"{source}-{name}"
        self.vault.files.append(listed(name, "new", contract=data_contract.name))
        self.vault.takes[name] = lambda: self.took(drop, name, received, quarantined, good, data_contract, source)
        return drop

    def took(
        self,
        drop: str,
        name: str,
        received: int,
        quarantined: int,
        good: bool,
        data_contract: DataContract,
        source: str,
    ) -> AdmissionResult:
        """Record what the enclave records of one file, and answer what it hands out."""
        landed: dict[str, Any] = {"name": name, "contract": data_contract.name}
        with self.step("land", f"drop:{drop}", inputs=[Ref(name=f"source:{source}/{name}")], facts=landed):
            pass
        admitted = received - quarantined if good else 0
        self.admits(drop, received=received, admitted=admitted, quarantined=quarantined, good=good)
        self.vault.files = [
            listed(path.name, "ingested", drop=drop, contract=data_contract.name) if path.name == name else path
            for path in self.vault.files
        ]
        return intake(drop, data_contract, admitted, quarantined=quarantined, good=good, source=source)

    def admits(
        self, drop: str, *, part: int = 0, received: int, admitted: int, quarantined: int = 0, good: bool = True
    ) -> None:
        facts: dict[str, Any] = {
            "replay_number": part, "outcome": "pass" if good else "fail", "received": received, "admitted": admitted,
            "quarantined": quarantined if good else 0,
        }  # fmt: skip
        by = Ref(name=f"contract:{CLAIMS.name}@{CLAIMS.version}", digest=CLAIMS.digest)
        with self.step("admit", f"drop:{drop}", inputs=[by], facts=facts):
            pass

    def replays(self, drop: str, *, part: int, waited: int, admitted: int) -> None:
        """Record what the enclave records of a replay; it answers the same part again."""
        self.admits(drop, part=part, received=waited, admitted=admitted, quarantined=waited - admitted)
        self.vault.takes[drop] = lambda: intake(drop, CLAIMS, admitted, part=part, quarantined=waited - admitted)

    def gives_up(self, drop: str, *, part: int, rows: int) -> AdmissionResult:
        """Do what the enclave does when a part is asked for again after its original was destroyed."""
        with self.step("expire", f"drop:{drop}", facts={"discarded": rows, "replay_number": part}):
            pass
        raise NotFound("the original is gone", fix="ask the vendor")

    def refuses(self, drop: str) -> None:
        """Record what the enclave records of a replay that repairs nothing: an entry without facts."""
        with pytest.raises(Refused), self.step("admit", f"drop:{drop}"):
            raise Refused("none keeps it", fix="mend it")

    def finds(self, finding: str, code: str) -> None:
        """Record what the enclave records of a finding."""
        facts: dict[str, Any] = {"finding": finding, "code": code, "source": SOURCE, "shown": "x", "message": "m"}
        with self.step("finding", f"file:{SOURCE}/0", facts=facts):
            pass
        self.step.entries[-1] = self.step.entries[-1].model_copy(update={"service": "enclave"})

    def receive(self) -> workflows.IngestResult:
        return workflows.ingest_source(self, SOURCE)  # type: ignore[arg-type]

    def account(self, drop: str) -> dict[str, int]:
        """Say an account without its zeros."""
        matches = workflows.build_row_account(self, drop)  # type: ignore[arg-type]
        assert matches.balanced
        return {name: count for name, count in matches.model_dump().items() if count}


def raise_refused(error: Refused) -> AdmissionResult:
    raise error


def listed(name: str, state: Any, *, drop: str | None = None, contract: str | None = None) -> SourceFile:
    instant = FixedClock().now()
    return SourceFile(source=SOURCE, name=name, size=1, modified=instant, state=state, drop=drop, contract=contract)


def intake(
    drop: str, data_contract: DataContract, admitted: int, *, part: int = 0, quarantined: int = 0, good: bool = True,
    source: str = SOURCE,
) -> AdmissionResult:  # fmt: skip
    named = Drop(
        tenant="acme", known_since=FixedClock().now(), id=drop, source=source, name=drop, digest="2" * 64, size=1,
        contract=data_contract.name, contract_version=data_contract.version, contract_digest=data_contract.digest,
        replay_number=part,
    )  # fmt: skip
    verdict = Verdict(subject=named.subject, outcome="pass") if good else BROKEN
    table: Any = object() if good else None
    counts = admission_counts(verdict, admitted=admitted, quarantined=quarantined, rows_digest="3" * 64)
    return AdmissionResult(named, counts, table)


@pytest.fixture(autouse=True)
def signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two contracts, and stories that need no tree."""
    by_digest = {item.digest: item for item in (CLAIMS, PEOPLE)}
    monkeypatch.setattr(ingest.contracts, "load_all", lambda folder, **_: (CLAIMS, PEOPLE))
    monkeypatch.setattr(ingest.contracts, "archive_contracts", lambda folder, stored: None)
    monkeypatch.setattr(ingest.contracts, "load_archived", lambda stored, digest, **_: by_digest[digest])
    monkeypatch.setattr(ingest, "seal_edition", lambda *_: None)


def fates(received: workflows.IngestResult) -> dict[str, str]:
    return {path.name: path.status for path in received.files}


# --- a set ------------------------------------------------------------------------------------------------------------


def test_a_good_set_is_published_as_one_and_confirmed():
    world = World()
    a, b = world.sends("a"), world.sends("b", data_contract=PEOPLE)
    received = world.receive()
    assert fates(received) == {"a": "published", "b": "published"}
    assert received.newly_published
    assert received.verdict.passed
    assert world.vault.confirmed == [(a, 0), (b, 0)]
    assert len(world.step.done("publish")) == 1


def test_nothing_new_does_nothing_and_says_how_old_the_edition_is():
    world = World()
    world.sends("a")
    edition = world.receive().edition
    world.clock.pass_(hours=3)
    before = len(world.step.entries)
    again = world.receive()
    assert again.files == ()
    assert not again.newly_published
    assert again.edition == edition
    assert again.age_seconds == 3 * 3600
    assert len(world.step.entries) == before


def test_before_the_first_edition_there_is_no_age():
    received = World().receive()
    assert (received.edition, received.age_seconds, received.files) == (None, None, ())


def test_one_stopped_drop_keeps_its_whole_set_waiting():
    world = World()
    world.sends("old")
    edition = world.receive().edition
    bad = world.sends("bad", good=False)
    good = world.sends("people", data_contract=PEOPLE)
    received = world.receive()
    assert fates(received) == {"bad": "stopped", "people": "waiting"}
    assert received.edition == edition
    assert not received.newly_published
    assert received.verdict.outcome == "fail"
    assert bad in received.verdict.reasons[0].message
    assert world.account(bad) == {"received": 10, "rejected": 10}
    assert world.account(good) == {"received": 10, "waiting": 10}
    assert world.step.done("alert")[0].facts["codes"] == ["missing_column"]


def test_the_next_valid_drop_of_the_contract_publishes_the_set_and_reports_staged_files():
    world = World()
    world.sends("bad", good=False)
    waited = world.sends("people", data_contract=PEOPLE)
    world.receive()
    assert world.receive().verdict.outcome == "fail"
    mended = world.sends("mended")
    received = world.receive()
    assert fates(received) == {"mended": "published", "people": "published"}
    assert received.verdict.passed
    assert world.account(waited) == {"received": 10, "published": 10}
    assert world.account(mended) == {"received": 10, "published": 10}


@pytest.mark.slow
def test_a_thousand_drops_behind_a_stopped_one_are_published_by_one_run_in_bounded_pieces():
    world = World()
    world.sends("bad", good=False)
    waited = [world.sends(f"good_{number:04}", data_contract=PEOPLE) for number in range(1000)]
    assert not world.receive().newly_published
    mended = world.sends("mended")
    received = world.receive()
    assert fates(received).keys() == {"mended", *(f"good_{number:04}" for number in range(1000))}
    assert set(fates(received).values()) == {"published"}
    publishes = world.step.done("publish")
    assert len(publishes) <= 20
    assert max(len(encode_entry(entry)) for entry in publishes) <= MAX_ENTRY_BYTES
    assert [drop for drop, _ in world.vault.confirmed] == [*waited, mended], "in the order of staging"


@pytest.mark.parametrize("point", ["workflows.publish:published", "workflows.publish:settled"])
def test_after_a_crash_between_two_pieces_the_next_run_publishes_the_rest(point: str):
    world = World()
    world.sends("bad", good=False)
    waited = [world.sends(f"good_{number:03}", data_contract=PEOPLE) for number in range(250)]
    world.receive()
    mended = world.sends("mended")
    world.step.die_at, world.step.nth = point, 2
    with pytest.raises(Died):
        world.receive()
    assert len(world.lake.published) == 200
    received = world.receive()
    assert received.verdict.passed
    assert sorted({drop for drop, _ in world.vault.confirmed}) == sorted([*waited, mended])
    assert len(world.vault.confirmed) == 251, "each part is confirmed once"
    assert len(world.step.done("publish")) == 3


def test_another_file_of_the_same_run_never_replaces_a_stopped_drop():
    world = World()
    bad, good = world.sends("january", good=False), world.sends("february")
    assert fates(world.receive()) == {"january": "stopped", "february": "waiting"}
    again = world.receive()
    assert (again.newly_published, again.verdict.outcome) == (False, "fail")
    assert world.account(good) == {"received": 10, "waiting": 10}
    world.sends("january_corrected")
    assert fates(world.receive()) == {"january_corrected": "published", "february": "published"}
    assert world.account(bad) == {"received": 10, "rejected": 10}


def test_a_drop_without_one_good_row_replaces_nothing():
    world = World()
    world.sends("bad", good=False)
    world.receive()
    world.sends("worse", quarantined=10)
    assert world.receive().verdict.outcome == "fail"


def test_a_good_drop_of_another_contract_does_not_settle_it():
    world = World()
    world.sends("bad", good=False)
    world.receive()
    world.sends("people", data_contract=PEOPLE)
    assert fates(world.receive()) == {"people": "waiting"}


def test_a_stopped_drop_raises_one_alert():
    world = World()
    world.sends("bad", good=False)
    world.receive()
    again = world.receive()
    assert again.files == ()
    assert again.verdict.outcome == "fail"
    assert len(world.step.done("alert")) == 1


def test_a_drop_stopped_in_another_source_stops_nothing_here():
    world = World()
    world.took("other-x", "x", 5, 0, False, CLAIMS, "other")
    world.sends("a")
    assert fates(world.receive()) == {"a": "published"}


def test_what_another_source_left_waiting_is_not_published_here():
    world = World()
    foreign = intake("other-x", CLAIMS, 5, source="other")
    world.lake.stage_part(foreign, CLAIMS, step=world.step)
    world.sends("a")
    world.receive()
    assert [item.drop for item in world.lake.waiting] == ["other-x"]


def test_a_replay_that_was_refused_neither_stops_nor_breaks_the_next_receive():
    world = World()
    drop = world.sends("a", quarantined=2)
    world.receive()
    world.refuses(drop)
    world.sends("b")
    assert fates(world.receive()) == {"b": "published"}
    assert world.account(drop) == {"received": 10, "published": 8, "quarantined": 2}


def test_a_landing_that_failed_before_the_good_one_is_not_read():
    world = World()
    drop = world.sends("a")
    with pytest.raises(OSError, match="full"), world.step("land", f"drop:{drop}"):
        raise OSError("full")
    assert fates(world.receive()) == {"a": "published"}


@pytest.mark.parametrize(
    ("seconds_ahead", "message"),
    [(0, "was modified a moment ago"), (59, "was modified a moment ago"), (10_800, "lies 3:00:00 ahead of this clock")],
)
def test_a_file_still_being_written_is_named_and_left_alone(seconds_ahead: int, message: str):
    world = World()
    file = listed("half", "still_writing").model_copy(update={"seconds_ahead": seconds_ahead})
    world.vault.files.append(file)
    for _ in range(2):
        received = world.receive()
        assert fates(received) == {"half": "still_writing"}
        assert message in received.files[0].reasons[0].message
    assert world.vault.requests == []


def test_a_file_that_changes_during_the_read_is_still_written():
    world = World()
    world.sends("a")
    world.vault.files.append(listed("half", "new", contract=CLAIMS.name))
    world.vault.takes["half"] = lambda: raise_refused(file_still_writing(SOURCE, "half"))
    assert fates(world.receive()) == {"a": "published", "half": "still_writing"}


def test_a_file_that_its_source_refuses_is_reported_by_the_first_run_only():
    world = World()
    reason = Reason(code="too_large", message="it has 31 bytes")
    verdict = Verdict(subject="finding:0123456789ab", outcome="inconclusive", reasons=(reason,))
    world.vault.files.append(listed("big", "new", contract=CLAIMS.name))

    def refuse() -> AdmissionResult:
        world.finds("0123456789ab", "too_large")
        raise Refused("it is too large", fix="ask for smaller files", verdict=verdict)

    world.vault.takes["big"] = refuse
    received = world.receive()
    assert fates(received) == {"big": "finding"}
    assert received.open_findings == 1
    world.vault.takes["big"] = lambda: raise_refused(Refused("it is too large", fix="", verdict=verdict))
    again = world.receive()
    assert (again.files, again.open_findings) == ((), 1)
    world.vault.files.clear()
    assert world.receive().open_findings == 0


@pytest.mark.parametrize(("state", "code"), [("changed", "changed"), ("unmatched", "personal_name")])
def test_a_finding_is_reported_once_and_its_file_is_not_taken(state: str, code: str):
    world = World()
    finding = FileFinding(id="0123456789ab", code=code, message="ask the vendor")
    file = listed("odd", state, drop="vendor-odd" if state == "changed" else None)
    world.vault.files.append(file.model_copy(update={"finding": finding}))
    received = world.receive()
    assert fates(received) == {"odd": "finding"}
    assert received.files[0].account is None
    assert received.files[0].reasons == (Reason(code=code, message="ask the vendor"),)
    assert received.open_findings == 1
    assert world.vault.requests == []
    world.finds(finding.id, code)
    again = world.receive()
    assert (again.files, again.open_findings) == ((), 1)


def test_a_file_dated_far_ahead_is_ingested_with_its_finding():
    world = World()
    world.sends("a")
    finding = FileFinding(id="0123456789ab", code="future_dated", message="it lies 3 days in the future")
    world.vault.files = [file.model_copy(update={"finding": finding}) for file in world.vault.files]
    received = world.receive()
    assert fates(received) == {"a": "published"}
    assert [reason.code for reason in received.files[0].reasons] == ["future_dated"]
    assert received.open_findings == 0


def test_an_unknown_source_is_refused_before_anything_is_asked():
    world = World()
    with pytest.raises(NotFound):
        workflows.ingest_source(world, "nowhere")  # type: ignore[arg-type]
    assert world.step.entries == []


# --- accounts ---------------------------------------------------------------------------------------------------------


def test_a_drop_that_was_not_judged_yet_has_an_empty_account():
    assert World().account("vendor-a") == {}


def test_rows_that_were_replayed_and_rows_whose_time_ended_leave_quarantine():
    world = World()
    drop = world.sends("a", received=20, quarantined=9)
    world.receive()
    assert world.account(drop) == {"received": 20, "published": 11, "quarantined": 9}
    world.admits(drop, part=1, received=9, admitted=4, quarantined=5)
    world.lake.stage_part(intake(drop, CLAIMS, 4, part=1), CLAIMS, step=world.step)
    assert world.account(drop) == {"received": 20, "published": 11, "quarantined": 5, "waiting": 4}
    with world.step("expire", f"drop:{drop}", facts={"discarded": 5}):
        pass
    assert world.account(drop) == {"received": 20, "published": 11, "discarded": 5, "waiting": 4}


def test_an_admission_that_failed_moves_no_row():
    world = World()
    drop = world.sends("a", quarantined=2)
    world.receive()
    facts: dict[str, Any] = {"replay_number": 1, "outcome": "pass", "received": 2, "admitted": 2, "quarantined": 0}
    with pytest.raises(OSError, match="full"), world.step("admit", f"drop:{drop}", facts=facts):
        raise OSError("full")
    assert world.account(drop) == {"received": 10, "published": 8, "quarantined": 2}


# --- replay -----------------------------------------------------------------------------------------------------------


def test_a_replay_of_an_unknown_drop_names_the_nearest():
    world = World()
    drop = world.sends("a")
    world.receive()
    with pytest.raises(NotFound) as raised:
        workflows.replay_drop(world, drop[:-1] + "b")  # type: ignore[arg-type]
    assert raised.value.fix == f"did you mean {drop!r}?"


def test_a_replay_publishes_its_part_and_confirms_it():
    world = World()
    drop = world.sends("a", quarantined=3)
    world.receive()
    world.vault.takes[drop] = lambda: intake(drop, CLAIMS, 2, part=1, quarantined=1)
    world.admits(drop, part=1, received=3, admitted=2, quarantined=1)
    received = workflows.replay_drop(world, drop)  # type: ignore[arg-type]
    assert fates(received) == {"a": "published"}
    assert world.vault.confirmed == [(drop, 0), (drop, 1)]
    assert world.account(drop) == {"received": 10, "published": 9, "quarantined": 1}


def test_a_replay_that_repairs_nothing_is_refused():
    world = World()
    drop = world.sends("a", quarantined=3)
    world.receive()
    world.vault.takes[drop] = lambda: intake(drop, CLAIMS, 0, part=1, quarantined=3)
    with pytest.raises(Refused, match="none of the 3 quarantined rows"):
        workflows.replay_drop(world, drop)  # type: ignore[arg-type]


# --- after a crash ----------------------------------------------------------------------------------------------------


def test_a_publish_that_the_enclave_did_not_hear_of_is_confirmed_by_the_next_run():
    world = World(die_at="workflows.publish:published")
    drop = world.sends("a")
    with pytest.raises(Died):
        world.receive()
    assert world.vault.confirmed == []
    assert world.receive().files == ()
    assert world.vault.confirmed == [(drop, 0)]
    world.receive()
    assert world.vault.confirmed == [(drop, 0)]


def test_rows_that_still_wait_are_not_confirmed():
    world = World(die_at="workflows.ingest:staged")
    world.sends("a")
    with pytest.raises(Died):
        world.receive()
    world.sends("bad", good=False)
    world.receive()
    assert world.vault.confirmed == []


def test_what_a_crash_left_staged_is_published_by_the_next_run():
    world = World(die_at="workflows.ingest:staged")
    drop = world.sends("a")
    with pytest.raises(Died):
        world.receive()
    received = world.receive()
    assert fates(received) == {"a": "published"}
    assert world.account(drop) == {"received": 10, "published": 10}


def test_a_replayed_part_that_a_crash_kept_from_the_lake_waits_and_is_fetched_again():
    world = World()
    drop = world.sends("a", quarantined=3)
    world.receive()
    world.replays(drop, part=1, waited=3, admitted=2)
    assert world.account(drop) == {"received": 10, "published": 7, "quarantined": 1, "waiting": 2}
    received = world.receive()
    assert fates(received) == {"a": "published"}
    assert world.account(drop) == {"received": 10, "published": 9, "quarantined": 1}


def test_a_replayed_part_whose_time_ended_before_the_lake_had_it_is_discarded_and_stops_no_run():
    world = World()
    drop = world.sends("a", quarantined=3)
    world.receive()
    world.replays(drop, part=1, waited=3, admitted=2)
    world.vault.takes[drop] = lambda: world.gives_up(drop, part=1, rows=2)
    assert world.receive().files == ()
    assert world.account(drop) == {"received": 10, "published": 7, "quarantined": 1, "discarded": 2}
    world.receive()
    assert len(world.step.done("expire")) == 1


def test_an_open_publish_is_finished_before_anything_new():
    world = World()
    world.step.write("publish", "intent", "edition:x", intent=None, inputs=(), outputs=(), facts={})
    world.receive()
    assert world.step.open_intents() == []


def test_an_edition_is_as_old_as_its_publish():
    world = World()
    world.sends("a")
    world.receive()
    world.clock.instant += timedelta(seconds=90)
    assert world.receive().age_seconds == 90


def test_the_publish_of_a_built_edition_settles_nothing():
    world = World()
    made_of = [Ref(name="edition:e0"), Ref(name="dbt:tests", digest="4" * 64)]
    with world.step("publish", "edition:built", intent=True, inputs=made_of):
        pass
    assert world.receive().files == ()
    assert world.vault.confirmed == []
