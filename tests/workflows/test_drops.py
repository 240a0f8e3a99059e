"""A drop that was not published is withdrawn or judged again; quarantined rows are discarded; each by a user."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.drop_world import REASON, DropWorld, drop_world, drops_of, states_of
from tests.builders.postgres import Database
from wellspring import workflows
from wellspring.errors import NotFound, Refused

pytestmark = pytest.mark.live


@pytest.fixture
def world(tmp_path: Path, shared_postgres: Database) -> Iterator[DropWorld]:
    with drop_world(tmp_path, shared_postgres) as world:
        yield world


def stop_a_set(world: DropWorld) -> tuple[str, str]:
    """Send a set whose orders are stopped and whose prices wait; return both drops."""
    world.send("order_1.csv", "1,a", header="number,kind")
    world.send("price_1.csv", "7,a,1.00", "8,b,2.00")
    received = world.ingest()
    assert states_of(received) == {"order_1.csv": "stopped", "price_1.csv": "waiting"}
    drops = drops_of(received)
    return drops["order_1.csv"], drops["price_1.csv"]


def test_a_withdrawn_drop_no_longer_holds_back_its_set(world: DropWorld):
    stopped, waiting = stop_a_set(world)
    assert world.ingest().verdict.outcome == "fail"
    withdrawn = world.decide("withdraw", stopped)
    assert (withdrawn.state, withdrawn.account.withdrawn) == ("withdrawn", withdrawn.account.received)
    assert [(item.action, item.user, item.reason) for item in withdrawn.decisions] == [("withdraw", "user:ana", REASON)]
    received = world.ingest()
    assert received.verdict.passed
    assert states_of(received) == {"price_1.csv": "published"}
    assert world.rows("price") == [(waiting, "7"), (waiting, "8")]
    assert world.show(stopped).state == "withdrawn"
    assert [path.name for path in (world.local.project.enclave_dir / "originals").iterdir() if stopped in path.name]


def test_a_staged_drop_is_withdrawn_and_those_staged_after_it_stay(world: DropWorld):
    _, first = stop_a_set(world)
    world.send("price_2.csv", "9,a,3.00")
    world.send("order_2.csv", "1,a", header="number,kind")
    later = drops_of(world.ingest())["price_2.csv"]
    withdrawn = world.decide("withdraw", first)
    assert withdrawn.account.model_dump(exclude_defaults=True) == {"received": 2, "withdrawn": 2}
    with world.open_platform() as platform:
        assert [part.drop for part in platform.lake.staged_parts()] == [later]
    world.send("order_3.csv", "1,a,1.00")
    assert states_of(world.ingest())["price_2.csv"] == "published"
    assert world.rows("price") == [(later, "9")]
    assert world.account(later) == {"received": 1, "published": 1}


def test_the_same_bytes_delivered_again_are_withdrawn_and_reported_once(world: DropWorld):
    stopped, _ = stop_a_set(world)
    world.decide("withdraw", stopped)
    world.ingest()
    os.utime(world.local.outbox / "order_1.csv", (1_800_000_000, 1_800_000_000))
    world.send("order_1_again.csv", "1,a", header="number,kind")
    received = world.ingest()
    assert states_of(received) == {"order_1.csv": "withdrawn", "order_1_again.csv": "withdrawn"}
    assert all("withdrawn" in file.reasons[0].message for file in received.files)
    assert received.verdict.passed
    assert world.ingest().files == ()


def test_a_stopped_drop_is_judged_again_from_its_original(world: DropWorld):
    stopped, waiting = stop_a_set(world)
    (world.local.outbox / "order_1.csv").unlink()
    assert states_of(world.decide("rejudge", stopped)) == {"order_1.csv": "stopped"}
    assert world.show(stopped).codes == ("missing_column",)
    assert world.ingest().verdict.outcome == "fail", "it holds back its set again"
    text = (world.local.project.root / "contracts" / "order.odcs.yaml").read_text()
    begin = text.index("      - name: amount")
    mended = text[:begin].replace("version: 1.0.0", "version: 1.1.0")
    (world.local.project.root / "contracts" / "order.odcs.yaml").write_text(mended)
    world.release_contract("order")
    result = world.decide("rejudge", stopped)
    assert states_of(result) == {"order_1.csv": "published", "price_1.csv": "published"}
    assert result.verdict.passed
    assert world.rows("order") == [(stopped, "1")]
    assert world.rows("price") == [(waiting, "7"), (waiting, "8")]
    assert world.account(stopped) == {"received": 1, "published": 1}


def test_a_withdrawn_drop_is_admitted_by_a_rejudgement_only(world: DropWorld):
    world.send("order_1.csv", "1,c,1.00")
    world.send("price_1.csv", "7,a", header="number,kind")
    waiting = drops_of(world.ingest())["order_1.csv"]
    assert world.account(waiting) == {"received": 1, "quarantined": 1}
    world.decide("withdraw", waiting)
    assert world.account(waiting) == {"received": 1, "withdrawn": 1}
    world.release_contract("order", version="1.1.0", kinds="a, b, c")
    before = world.show(waiting).landed_at
    world.send("price_2.csv", "7,a,1.00")
    world.ingest()
    result = world.decide("rejudge", waiting)
    assert states_of(result) == {"order_1.csv": "published"}
    assert world.rows("order") == [(waiting, "1")]
    with world.open_platform() as platform:
        edition = platform.lake.get_edition()
        assert edition is not None
        since = platform.lake.read_table(edition, "order", ("known_since",))["known_since"][0].as_py()
    assert f"{since:%Y-%m-%dT%H:%M:%S.%fZ}" > before, "its rows are known since they were admitted"
    with pytest.raises(Refused, match="are published"):
        world.decide("rejudge", waiting)


def test_what_is_quarantined_is_discarded_once(world: DropWorld):
    world.send("order_1.csv", "1,a,1.00", "2,c,1.00")
    drop = drops_of(world.ingest())["order_1.csv"]
    note = world.sign("discard", drop)
    assert world.decide("discard", drop, note=note).account.discarded == 1
    assert world.decide("discard", drop, note=note).account.discarded == 1, "the same note again changes nothing"
    assert world.account(drop) == {"received": 2, "published": 1, "discarded": 1}
    with pytest.raises(NotFound, match="no quarantined rows"):
        world.decide("discard", drop)
    with world.open_platform() as platform:
        assert platform.vault.count_quarantined(drop) == ()


def test_bad_requests_are_refused(world: DropWorld):
    world.send("order_1.csv", "1,a,1.00")
    published = drops_of(world.ingest())["order_1.csv"]
    for act in ("withdraw", "rejudge"):
        with pytest.raises(Refused, match="are published"):
            world.decide(act, published)
        with pytest.raises(NotFound, match="no drop"):
            world.decide(act, f"{published[:-1]}x")
    world.send("order_2.csv", "1,a", header="number,kind")
    stopped = drops_of(world.ingest())["order_2.csv"]
    with pytest.raises(Refused, match="no reason"):
        world.decide("withdraw", stopped, reason=" ")
    note = world.sign("withdraw", stopped)
    world.decide("withdraw", stopped, note=note)
    world.decide("withdraw", stopped, note=note)
    with pytest.raises(Refused, match="withdrawn before"):
        world.decide("withdraw", stopped)
    with world.open_platform() as platform, pytest.raises(Refused, match="was withdrawn"):
        workflows.replay_drop(platform, stopped)
