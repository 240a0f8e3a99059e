"""A drop whose rows wait is judged by the contract in force, if it was mended since."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.drop_world import DropWorld, drop_world, drops_of, states_of
from tests.builders.postgres import Database

pytestmark = pytest.mark.live


@pytest.fixture
def world(tmp_path: Path, shared_postgres: Database) -> Iterator[DropWorld]:
    with drop_world(tmp_path, shared_postgres) as world:
        yield world


def test_a_waiting_drop_is_judged_by_the_contract_that_was_mended_since(world: DropWorld):
    world.send("order_1.csv", "1,a,1.00", "2,c,1.00")
    world.send("price_1.csv", "7,a", header="number,kind")
    drop = drops_of(world.ingest())["order_1.csv"]
    assert world.account(drop) == {"received": 2, "waiting": 1, "quarantined": 1}
    world.release_contract("order", version="1.1.0", kinds="a, b, c")
    world.send("price_2.csv", "7,a,1.00")
    assert states_of(world.ingest())["order_1.csv"] == "published"
    assert world.rows("order") == [(drop, "1"), (drop, "2")]
    assert world.show(drop).decisions[0].user == ""


def test_a_raised_scale_that_was_put_back_stops_no_source(world: DropWorld):
    world.write_contract("order", version="1.1.0", scale=4)
    world.send("order_1.csv", "1,a,1.00")
    world.send("price_1.csv", "7,a", header="number,kind")
    drop = drops_of(world.ingest())["order_1.csv"]
    world.release_contract("order", version="1.2.0", scale=2)
    world.send("price_2.csv", "7,a,1.00")
    result = world.ingest()
    assert world.rows("order") == [(drop, "1")], result


def test_a_version_that_is_not_released_judges_no_drop_and_is_named(world: DropWorld):
    world.send("order_1.csv", "1,a,1.00")
    world.send("price_1.csv", "7,a", header="number,kind")
    drop = drops_of(world.ingest())["order_1.csv"]
    world.write_contract("order", version="1.1.0", kinds="a, b, c")
    world.send("order_2.csv", "3,c,1.00")
    world.send("price_2.csv", "7,a,1.00")
    result = world.ingest()
    assert states_of(result)["order_1.csv"] == "published"
    assert states_of(result)["order_2.csv"] == "quarantined", "the version in force has no such kind"
    (unreleased,) = result.unreleased_contracts
    assert (unreleased.version_in_force, unreleased.version_on_disk) == ("1.0.0", "1.1.0")
    assert unreleased.command == "wellspring release propose --kind contract order"
    assert world.rows("order") == [(drop, "1")]
    assert world.show(drop).decisions == ()
