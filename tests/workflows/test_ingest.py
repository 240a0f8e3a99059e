"""The road with its ports played by fakes: what stops a set, what an account says, what a crash leaves to be done.

The same road on real servers is walked in tests/journeys/.
"""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.builders.ingest_world import (
    ALONE,
    CLAIMS,
    SOURCE,
    World,
    fates,
    intake,
    listed,
    raise_refused,
)
from tests.builders.recording_step import Died
from wellspring import workflows
from wellspring.data.sources.port import file_still_writing
from wellspring.errors import NotFound, Refused
from wellspring.records.ingestion import AdmissionResult, FileFinding
from wellspring.records.trust import Ref
from wellspring.records.verdict import Reason, Verdict

pytestmark = pytest.mark.usefixtures("signed")


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


def test_a_drop_without_a_row_to_publish_is_handled_and_makes_no_edition():
    world = World()
    world.sends("worse", quarantined=10)
    received = world.receive()
    assert (fates(received), received.newly_published) == ({"worse": "quarantined"}, False)
    assert world.receive().files == ()


def test_a_refused_contract_stops_its_own_files_only():
    world = World()
    world.vault.files.append(listed("weaker", "new", contract=ALONE.name))
    world.vault.takes["weaker"] = refuse_contract
    world.sends("claims")
    received = world.receive()
    assert fates(received) == {"weaker": "finding", "claims": "published"}
    assert received.files[0].reasons[0].code == "weakened_protection"


def refuse_contract() -> AdmissionResult:
    raise Refused.because("contract:alone", "weakened_protection", "it protects less", fix="restore it")


def test_keys_are_looked_up_when_the_table_has_rows():
    world = World()
    world.sends("first", data_contract=ALONE)
    world.receive()
    assert (world.lake.looked_up, world.vault.known_rows) == ([], None)
    world.sends("second", data_contract=ALONE)
    world.receive()
    assert world.lake.looked_up == [("alone", "keys of second")]
    assert world.vault.known_rows.num_rows == 0


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


def test_a_changed_file_whose_drop_was_interrupted_is_published_with_its_finding():
    world = World()
    world.sends("a")
    finding = FileFinding(id="0123456789ab", code="changed", message="ask the vendor")
    changed = listed("a", "changed", drop="vendor-a", contract=CLAIMS.name)
    world.vault.files = [changed.model_copy(update={"finding": finding})]
    received = world.receive()
    assert fates(received) == {"a": "published"}
    assert [reason.code for reason in received.files[0].reasons] == ["changed"]
    world.finds(finding.id, "changed")
    world.vault.files = [changed.model_copy(update={"finding": finding})]
    assert world.receive().files == ()


def test_a_drop_without_its_contract_stops_no_other():
    world = World()
    world.sends("a")
    world.vault.files.insert(0, listed("old", "new", contract="retired"))
    received = world.receive()
    assert fates(received) == {"old": "finding", "a": "published"}
    assert [reason.code for reason in received.files[0].reasons] == ["no_contract"]


def test_a_contract_that_its_table_cannot_hold_stops_its_own_files_before_they_are_admitted():
    world = World()
    world.lake.incompatible.add(ALONE.name)
    world.sends("odd", data_contract=ALONE)
    world.sends("a")
    received = world.receive()
    assert fates(received) == {"odd": "finding", "a": "published"}
    assert [reason.code for reason in received.files[0].reasons] == ["incompatible_schema"]
    assert world.vault.requests == ["a"]
