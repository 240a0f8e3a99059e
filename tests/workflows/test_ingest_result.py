"""The row account of a drop."""

from __future__ import annotations

from typing import Any

import pytest

from tests.builders.ingest_world import (
    CLAIMS,
    World,
    intake,
)

pytestmark = pytest.mark.usefixtures("signed")


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
