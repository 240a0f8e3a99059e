"""The enclave decides about a drop only with the signature of an enrolled user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders.approvals import Somebody
from tests.builders.drop_world import REASON, DropWorld, drop_world, drops_of
from tests.builders.postgres import Database
from tests.builders.user_notes import SIGNED_AT, sign
from wellspring.errors import CorruptedError, NotFound, Refused
from wellspring.trust.user_notes import hash_reason

pytestmark = pytest.mark.live


@pytest.fixture
def world(tmp_path: Path, shared_postgres: Database) -> Iterator[DropWorld]:
    with drop_world(tmp_path, shared_postgres) as world:
        yield world


@pytest.fixture
def stopped(world: DropWorld) -> str:
    world.send("order_1.csv", "1,a", header="number,kind")
    return drops_of(world.ingest())["order_1.csv"]


def test_the_enclave_itself_checks_who_signed(world: DropWorld, stopped: str):
    forged = sign(Somebody("ana", "owner"), "withdrawal", stopped, hash_reason(REASON), SIGNED_AT)
    enclave = world.local.enclave
    with pytest.raises(CorruptedError, match="another key"):
        enclave.withdraw_drop(stopped, forged, REASON)
    with pytest.raises(Refused, match="no enrollment"):
        enclave.withdraw_drop(stopped, forged.model_copy(update={"user": "eve"}), REASON)
    with pytest.raises(Refused, match="signed another withdrawal"):
        enclave.withdraw_drop(stopped, world.sign("withdraw", stopped), "another reason")
    assert world.show(stopped).state == "stopped"


def test_without_a_user_only_waiting_rows_are_judged_again(world: DropWorld, stopped: str):
    world.release_contract("order", version="1.1.0")
    (digest,) = [item.digest for item in world.local.enclave._contracts.read_all() if item.name == "order"]
    with pytest.raises(Refused, match="waits to be published"):
        world.local.enclave.rejudge_drop(stopped, digest, None, "")


def test_a_drop_whose_original_is_gone_is_not_judged_again(world: DropWorld, stopped: str):
    store = world.local.enclave._dependencies.store
    with store._transaction() as run:
        run.execute("UPDATE drops SET retention_until = now() - interval '1 day'")
    (digest,) = [item.digest for item in world.local.enclave._contracts.read_all() if item.name == "order"]
    with pytest.raises(NotFound, match="retention ended"):
        world.local.enclave.check_rejudge(stopped, digest)
    assert world.decide("withdraw", stopped).state == "withdrawn", "it can still be withdrawn"


def test_a_drop_that_landed_for_another_contract_is_not_judged_by_this_one(world: DropWorld, stopped: str):
    text = (world.local.project.root / "contracts" / "order.odcs.yaml").read_text()
    world.write_contract("price", version="1.1.0")
    path = world.local.project.root / "contracts" / "price.odcs.yaml"
    path.write_text(path.read_text().replace("price_*.csv", "order_*.csv"))
    moved = text.replace("order_*.csv", "o_*.csv").replace("version: 1.0.0", "version: 1.1.0")
    (world.local.project.root / "contracts" / "order.odcs.yaml").write_text(moved)
    world.release_contract("order")
    (digest,) = [item.digest for item in world.local.enclave._contracts.read_all() if item.name == "price"]
    with pytest.raises(Refused, match="landed for the contract order"):
        world.local.enclave.check_rejudge(stopped, digest)
