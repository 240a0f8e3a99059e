"""What is published: complete sets, drops without a set, and bounded pieces."""

from __future__ import annotations

import pytest

from tests.builders.ingest_world import (
    ALONE,
    CLAIMS,
    PEOPLE,
    World,
    fates,
    intake,
)
from tests.builders.recording_step import Died
from wellspring.trust.ledger.journal import MAX_ENTRY_BYTES, encode_entry

pytestmark = pytest.mark.usefixtures("signed")


def test_a_good_set_is_published_as_one_and_confirmed():
    world = World()
    a, b = world.sends("a"), world.sends("b", data_contract=PEOPLE)
    received = world.receive()
    assert fates(received) == {"a": "published", "b": "published"}
    assert received.newly_published
    assert received.verdict.passed
    assert world.vault.confirmed == [(a, 0), (b, 0)]
    assert len(world.step.done("publish")) == 1


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


def test_a_stopped_drop_without_a_set_holds_back_nothing():
    world = World()
    bad = world.sends("bad", good=False, data_contract=ALONE)
    world.sends("claims")
    world.sends("later", data_contract=ALONE)
    received = world.receive()
    assert fates(received) == {"bad": "stopped", "claims": "published", "later": "published"}
    assert (received.newly_published, received.verdict.outcome) == (True, "fail")
    assert [(reason.code, bad in reason.message) for reason in received.verdict.reasons] == [("stopped", True)]
    again = world.receive()
    assert (again.files, again.verdict.outcome) == ((), "pass")


def test_a_stopped_set_holds_back_no_other_contract():
    world = World()
    world.sends("bad", good=False)
    world.sends("people", data_contract=PEOPLE)
    world.sends("alone", data_contract=ALONE)
    assert fates(world.receive()) == {"bad": "stopped", "people": "waiting", "alone": "published"}


def test_what_another_source_left_waiting_is_not_published_here():
    world = World()
    foreign = intake("other-x", CLAIMS, 5, source="other")
    world.lake.stage_part(foreign, CLAIMS, step=world.step)
    world.sends("a")
    world.receive()
    assert [item.drop for item in world.lake.waiting] == ["other-x"]
