"""The kind `contract`: two users release a version, the landed table gains its columns, both versions are read."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from tests.builders.drop_world import DropWorld, drop_world, drops_of, states_of
from tests.builders.postgres import Database
from tests.builders.user_notes import sign
from wellspring import workflows
from wellspring.errors import NotFound, Refused
from wellspring.records.changes import ChangeRelease
from wellspring.workflows.changes.contract import ContractChange
from wellspring.workflows.contracts_in_force import read_contracts_in_force

pytestmark = pytest.mark.live
PLACE = """      - name: place
        logicalType: string
        classification: operational
        customProperties: [{ property: egress, value: plain }]
"""


@pytest.fixture
def world(tmp_path: Path, shared_postgres: Database) -> Iterator[DropWorld]:
    with drop_world(tmp_path, shared_postgres) as world:
        yield world


def edit(world: DropWorld, version: str, *replacements: tuple[str, str], more: str = "", name: str = "order") -> None:
    """Edit the file of a contract: raise its version, replace texts, and add columns at its end."""
    path = world.local.project.root / "contracts" / f"{name}.odcs.yaml"
    text = path.read_text()
    for old, new in (("version: 1.0.0", f"version: {version}"), *replacements):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text + more)


def draft(world: DropWorld, name: str = "order") -> ChangeRelease:
    with world.local.open_platform() as platform:
        return workflows.draft_change(platform, "contract", name, progress=lambda *_: None).release


def propose(world: DropWorld, change: ChangeRelease) -> None:
    note = sign(world.ana, "proposal", change.signed_name, change.id, change.digest)
    with world.local.open_platform() as platform:
        workflows.propose_change(platform, change.id, note=note)


def approve(world: DropWorld, change: ChangeRelease) -> workflows.ChangeSummary:
    note = sign(world.bo, "release", change.signed_name, change.id, change.digest)
    with world.local.open_platform() as platform:
        return workflows.approve_change(platform, change.id, note=note)


def read(world: DropWorld, edition_id: str | None = None) -> list[dict[str, object]]:
    with world.local.open_platform() as platform:
        edition = platform.lake.get_edition(edition_id)
        assert edition is not None
        rows = platform.lake.read_table(edition, "order").sort_by("number")
        return rows.select([name for name in ("number", "amount", "place") if name in rows.column_names]).to_pylist()


def code(refused: pytest.ExceptionInfo[Refused]) -> set[str]:
    assert refused.value.verdict is not None
    return {reason.code for reason in refused.value.verdict.reasons}


def publish_first(world: DropWorld) -> str:
    """Publish a row of each contract, and return the edition."""
    world.send("order_1.csv", "1,a,1.00")
    world.send("price_1.csv", "1,a,1.00")
    edition = world.ingest().edition
    assert edition is not None
    return edition.id


def test_rows_of_both_versions_land_and_are_read_together(world: DropWorld):
    first = publish_first(world)
    before = read(world)
    # A drop waits for its set, admitted by the version in force.
    world.send("order_2.csv", "2,a,2.00")
    world.send("price_2.csv", "2,a", header="number,kind")
    waiting = drops_of(world.ingest())["order_2.csv"]
    edit(world, "1.1.0", ("decimal(12,2)", "decimal(14,2)"), ("[a, b]", "[a, b, c]"), more=PLACE)
    change = draft(world)
    assert change.summary == (
        "order 1.0.0 becomes 1.1.0: compatible",
        "compatible: kind has new valid values: c",
        "compatible: amount is wider: from decimal128(12, 2) to decimal128(14, 2)",
        "compatible: place is new: string, operational, leaves as plain",
    )
    assert (change.needs_second_person, change.version) == (True, "1.1.0")
    propose(world, change)
    assert approve(world, change).state == "live"
    # Files of both layouts arrive; an earlier row of the old version came before, another one does not.
    world.send("order_3.csv", "1,a,1.00", "3,a,3.00")
    world.send("order_4.csv", "4,c,987654321098.76,here", header="number,kind,amount,place")
    world.send("price_3.csv", "3,a,1.00")
    result = world.ingest()
    assert set(states_of(result).values()) == {"published"}
    assert result.unreleased_contracts == ()
    assert read(world) == [
        {"number": "1", "amount": Decimal("1.00"), "place": None},
        {"number": "2", "amount": Decimal("2.00"), "place": None},
        {"number": "3", "amount": Decimal("3.00"), "place": None},
        {"number": "4", "amount": Decimal("987654321098.76"), "place": "here"},
    ]
    assert read(world, first) == before
    assert world.show(waiting).decisions[0].action == "rejudge", "the waiting drop was judged by the new version"
    with world.local.open_platform() as platform:
        workflows.prove_subject(platform.ledger, change.subject, world.local.project.root / "pack", platform=platform)
    assert (world.local.project.root / "pack" / "contracts" / "order@1.1.0.yaml").is_file()


def test_a_column_that_lands_is_neither_renamed_nor_narrowed_nor_split(world: DropWorld):
    publish_first(world)
    path = world.local.project.root / "contracts" / "order.odcs.yaml"
    text = path.read_text()
    for replacement, words in (
        ((("name: amount", "name: total"),), "amount is renamed to total"),
        ((("decimal(12,2)", "decimal(9,2)"),), "amount is narrower"),
        ((("name: amount", "name: amount_due"),), "amount is split into amount_due, amount_paid"),
    ):
        more = PLACE.replace("place", "amount_paid") if "split" in words else ""
        edit(world, "1.1.0", *replacement, more=more)
        with pytest.raises(Refused, match=words) as refused:
            draft(world)
        assert "write another contract with a name of its own" in refused.value.fix
        path.write_text(text)
    assert draft_is_refused(world, "is in force")


def draft_is_refused(world: DropWorld, words: str) -> bool:
    with pytest.raises(Refused, match=words):
        draft(world)
    return True


def test_an_approval_after_the_next_version_is_refused(world: DropWorld):
    publish_first(world)
    edit(world, "1.1.0", ("[a, b]", "[a, b, c]"))
    first = draft(world)
    propose(world, first)
    path = world.local.project.root / "contracts" / "order.odcs.yaml"
    path.write_text(path.read_text().replace("1.1.0", "1.2.0").replace("[a, b, c]", "[a, b, c, d]"))
    second = draft(world)
    propose(world, second)
    assert approve(world, second).state == "live"
    with pytest.raises(Refused) as refused:
        approve(world, first)
    assert code(refused) == {"superseded"}
    with pytest.raises(Refused) as refused:
        world.local.enclave.accept_contract(first.id)
    assert code(refused) & {"not_approved", "version_lower"}
    with world.local.open_platform() as platform:
        in_force = {item.name: item.version for item in read_contracts_in_force(platform)}
    assert in_force == {"order": "1.2.0", "price": "1.0.0"}


def test_an_approval_covers_what_was_proposed_and_not_what_the_file_says_since(world: DropWorld):
    publish_first(world)
    edit(world, "1.1.0", ("[a, b]", "[a, b, c]"))
    change = draft(world)
    propose(world, change)
    path = world.local.project.root / "contracts" / "order.odcs.yaml"
    path.write_text(path.read_text().replace("[a, b, c]", "[a, b, c, secret]"))
    approve(world, change)
    world.send("order_2.csv", "2,secret,1.00")
    result = world.ingest()
    assert states_of(result) == {"order_2.csv": "quarantined"}
    (unreleased,) = result.unreleased_contracts
    assert (unreleased.version_in_force, unreleased.version_on_disk) == ("1.1.0", "1.1.0")
    with pytest.raises(Refused) as refused:
        draft(world)
    assert code(refused) == {"version_unchanged"}


def test_a_first_contract_with_names_in_it_waits_for_the_second_person(world: DropWorld):
    edit(world, "1.0.0", more=PLACE.replace("place", "member_name"))
    world.send("order_1.csv", "1,a,1.00,Ann", header="number,kind,amount,member_name")
    result = world.ingest()
    assert [reason.code for file in result.files for reason in file.reasons] == ["personal_column"]
    change = draft(world)
    assert change.needs_second_person
    assert change.summary[0] == "order 1.0.0 is its first version"
    assert change.summary[1].startswith("exception, personal_column: member_name holds names")
    propose(world, change)
    approve(world, change)
    assert states_of(world.ingest()) == {"order_1.csv": "published"}


def test_a_replay_by_a_version_on_disk_names_the_command_that_releases_it(world: DropWorld):
    world.send("order_1.csv", "1,c,1.00")
    drop = drops_of(world.ingest())["order_1.csv"]
    edit(world, "1.1.0", ("[a, b]", "[a, b, c]"))
    with (
        world.local.open_platform() as platform,
        pytest.raises(Refused, match=r"1\.1\.0 on disk is not in force") as no,
    ):
        workflows.replay_drop(platform, drop)
    assert "wellspring release propose --kind contract order" in no.value.fix
    world.release_contract("order")
    with world.local.open_platform() as platform:
        assert states_of(workflows.replay_drop(platform, drop)) == {"order_1.csv": "published"}


def test_contracts_are_named_by_their_files(world: DropWorld):
    assert ContractChange().list_names(world.local.project) == ("order", "price")
    with pytest.raises(NotFound, match="no contract 'orders'"):
        draft(world, "orders")
