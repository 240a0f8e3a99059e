"""Backfill: drops that landed before their contract named a person are read again, once each."""

from __future__ import annotations

import pytest

from tests.builders.enclave import ProjectFixture
from tests.builders.people import put_people, release_person_contract, write_person_contract
from tests.builders.vault_records import fact
from wellspring.enclave.service import Enclave
from wellspring.errors import NotFound

pytestmark = pytest.mark.live

SOURCE = "clearinghouse"


def land_before(project: ProjectFixture, enclave: Enclave) -> str:
    """Admit a drop whose contract names no person yet, then one of a contract that does. Returns the first one."""
    early = write_person_contract(project, names_person=False)
    put_people(project, "claim_1.csv", "C-1,a,1,Ada", "C-2,b,2,Bob", "C-3,new,3,Waits", "C-1,a,9,Contradicts")
    first = enclave.ingest_file(SOURCE, "claim_1.csv", early.digest).drop.id
    assert enclave.count_persons().unread_drops == ()
    later = release_person_contract(project, enclave, version="1.1.0")
    put_people(project, "claim_2.csv", "C-2,b,2,Bob", "C-4,b,4,Dee")
    enclave.ingest_file(SOURCE, "claim_2.csv", later.digest)
    return first


def test_a_backfill_adds_the_persons_that_have_no_row_once(project: ProjectFixture) -> None:
    with project.open_enclave() as enclave:
        first = land_before(project, enclave)
        assert enclave.count_persons().unread_drops == (first,)
        assert enclave.backfill_drop(first) == 0, "C-1 contradicts itself, and C-2 has a row"
        assert enclave.count_persons().unread_drops == ()
        with project.store._transaction() as run:
            run.execute("DELETE FROM people")
            run.execute("UPDATE drops SET person_column = NULL WHERE id = %s", (first,))
        project.clock.pass_(days=1)
        assert enclave.backfill_drop(first) == 1
        assert enclave.backfill_drop(first) == 0
        assert enclave.count_persons().rows == {"claim": 1}
    assert [entry.facts for entry in project.list_entries("backfill")] == [
        {"person": "claim_id", "persons": 0},
        {"person": "claim_id", "persons": 1},
    ]


def test_a_withdrawn_drop_takes_its_rows_along_and_others_are_read_again(project: ProjectFixture) -> None:
    digest = write_person_contract(project).digest
    put_people(project, "claim_1.csv", "C-1,a,1,Ada")
    put_people(project, "claim_2.csv", "C-1,b,2,Ada", "C-2,b,2,Bob")
    with project.open_enclave() as enclave:
        first, second = (enclave.ingest_file(SOURCE, f"claim_{n}.csv", digest).drop.id for n in (1, 2))
        entry = project.store.outbox.read_pending_rows()
        assert entry.entries == ()
        project.store.decisions.withdraw_drop(first, project.clock.now(), fact("withdraw/0"))
        project.store.outbox.mark_published("withdraw/0")
        assert enclave.count_persons().unread_drops == (second,)
        assert enclave.count_persons().rows == {"claim": 1}
        assert enclave.backfill_drop(second) == 1
        assert enclave.count_persons().rows == {"claim": 2}


def test_a_drop_without_its_original_is_not_listed(project: ProjectFixture) -> None:
    with project.open_enclave() as enclave:
        first = land_before(project, enclave)
        project.clock.pass_(days=8)
        enclave.run_maintenance()
        assert enclave.count_persons().unread_drops == ()
        with pytest.raises(NotFound, match="retention ended"):
            enclave.backfill_drop(first)


@pytest.mark.parametrize("point", ["enclave.backfill:stored", "enclave.backfill:recorded"])
def test_a_killed_backfill_is_recorded_once(project: ProjectFixture, point: str) -> None:
    with project.open_enclave() as enclave:
        first = land_before(project, enclave)
    project.kill(point, "backfill_drop", first)
    with project.open_enclave() as enclave:
        assert enclave.count_persons().unread_drops == ()
        assert enclave.backfill_drop(first) == 0
    assert len(project.list_entries("backfill")) == 1
