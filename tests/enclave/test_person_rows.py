"""The sealed rows of persons: who gets one, with which values, and with which keys it opens."""

from __future__ import annotations

import pytest

from tests.builders import drops
from tests.builders.enclave import ProjectFixture
from tests.builders.memory_keys import Keyring
from tests.builders.people import put_people, release_person_contract, write_person_contract
from wellspring.data.intake.known_rows import summarize_known_rows
from wellspring.enclave.person_rows import PersonKeys
from wellspring.errors import NotFound, Refused
from wellspring.trust.person_cipher import SealedPerson

pytestmark = pytest.mark.live

SOURCE = "clearinghouse"


def sealed_rows(project: ProjectFixture) -> list[SealedPerson]:
    with project.store._transaction() as run:
        tokens = [row["token"] for row in run.execute("SELECT token FROM people ORDER BY token").fetchall()]
    rows = [project.store.people.get_row(token, "") for token in tokens]
    return [row for row in rows if row is not None]


def open_rows(project: ProjectFixture) -> list[dict[str, str | None]]:
    keys = PersonKeys(project.store, Keyring(project.root_key))
    return sorted((keys.open_row(row) for row in sealed_rows(project)), key=lambda values: str(values["claim_id"]))


def test_each_person_that_leaves_has_one_row_of_the_first_protected_values(project: ProjectFixture) -> None:
    digest = write_person_contract(project).digest
    put_people(project, "claim_1.csv", "C-1,a,1,Ada Byron", "C-2,b,2,", "C-3,new,3,Grace Hopper")
    put_people(project, "claim_2.csv", "C-1,b,9,Ada Lovelace", "C-4,b,4,Zoë Ng", "C-5,a,x,Not Valid")
    with project.open_enclave() as enclave:
        first = enclave.ingest_file(SOURCE, "claim_1.csv", digest)
        enclave.ingest_file(SOURCE, "claim_2.csv", digest)
        assert open_rows(project) == [
            {"claim_id": "C-1", "full_name": "Ada Byron"},
            {"claim_id": "C-2", "full_name": None},
            {"claim_id": "C-4", "full_name": "Zoë Ng"},
        ]
        counts = enclave.count_persons()
        assert (counts.rows, counts.unread_drops) == ({"claim": 3}, ())
        leaving = drops.read_rows(first)["claim_id"].to_pylist()
        assert {row.token for row in sealed_rows(project)} >= set(leaving)
        better = release_person_contract(project, enclave, version="1.1.0", kinds="a, b, new")
        enclave.replay_quarantined(first.drop.id, better.digest)
        assert open_rows(project)[2] == {"claim_id": "C-3", "full_name": "Grace Hopper"}


def test_no_value_of_a_person_is_stored_in_plain(project: ProjectFixture) -> None:
    digest = write_person_contract(project).digest
    put_people(project, "claim_1.csv", "C-PLAIN-1,a,1,Ada Byron")
    with project.open_enclave() as enclave:
        enclave.ingest_file(SOURCE, "claim_1.csv", digest)
        with project.store._transaction() as run:
            stored = str(run.execute("SELECT * FROM people").fetchall())
            stored += str(run.execute("SELECT encode(sealed, 'escape') || encode(wrapped_key, 'escape') FROM people"))
        (row,) = sealed_rows(project)
    for value in ("C-PLAIN-1", "Ada Byron", "full_name"):
        assert value not in stored
        assert value.encode() not in row.sealed + (row.wrapped_key or b"")


def test_a_rejected_drop_leaves_no_person(project: ProjectFixture) -> None:
    digest = write_person_contract(project).digest
    project.vendor.put("claim_1.csv", b"claim_id,amount,full_name\nC-1,1,Ada\n")
    with project.open_enclave() as enclave:
        assert not enclave.ingest_file(SOURCE, "claim_1.csv", digest).counts.verdict.passed
        assert enclave.count_persons().rows == {}


def test_a_copy_has_a_row_and_a_contradiction_has_none(project: ProjectFixture) -> None:
    contract = write_person_contract(project)
    put_people(project, "claim_1.csv", "C-1,a,1,Ada", "C-2,a,2,Bob")
    with project.open_enclave() as enclave:
        first = enclave.ingest_file(SOURCE, "claim_1.csv", contract.digest)
        landed = drops.read_rows(first)
        with project.store._transaction() as run:
            run.execute("DELETE FROM people")
        put_people(project, "claim_2.csv", "C-1,a,1,Ada", "C-2,b,7,Eve", "C-3,a,3,Cyd")
        landed = landed.append_column("drop_id", [[first.drop.id] * 2])
        earlier = summarize_known_rows(contract, landed.to_batches())
        second = enclave.ingest_file(SOURCE, "claim_2.csv", contract.digest, known_rows=earlier)
        assert (second.counts.admitted, second.counts.quarantined) == (1, 1)
        assert [values["claim_id"] for values in open_rows(project)] == ["C-1", "C-3"]


def test_a_rotated_key_seals_new_rows_and_opens_earlier_ones(project: ProjectFixture) -> None:
    digest = write_person_contract(project).digest
    put_people(project, "claim_1.csv", "C-1,a,1,Ada")
    put_people(project, "claim_2.csv", "C-2,a,2,Bob")
    with project.open_enclave() as enclave:
        enclave.run_maintenance()
        assert project.store.people.list_keys() == {}, "no contract has named a person yet"
        enclave.ingest_file(SOURCE, "claim_1.csv", digest)
        keys = project.dependencies.keys
        assert isinstance(keys, Keyring)
        keys.version = 2
        enclave.run_maintenance()
        enclave.ingest_file(SOURCE, "claim_2.csv", digest)
        assert sorted(row.key_version for row in sealed_rows(project)) == [1, 2]
        assert [values["full_name"] for values in open_rows(project)] == ["Ada", "Bob"]


def test_a_row_opens_with_the_keys_of_its_key_server_until_its_own_key_is_deleted(project: ProjectFixture) -> None:
    digest = write_person_contract(project).digest
    put_people(project, "claim_1.csv", "C-1,a,1,Ada")
    with project.open_enclave() as enclave:
        enclave.ingest_file(SOURCE, "claim_1.csv", digest)
        (row,) = sealed_rows(project)
        with pytest.raises(Refused):
            PersonKeys(project.store, Keyring()).open_row(row)
        with project.store._transaction() as run:
            run.execute("UPDATE people SET wrapped_key = NULL")
        (erased,) = sealed_rows(project)
        with pytest.raises(NotFound, match="was deleted"):
            PersonKeys(project.store, Keyring(project.root_key)).open_row(erased)


def test_a_killed_admission_leaves_the_persons_of_its_drop_or_none(project: ProjectFixture) -> None:
    digest = write_person_contract(project).digest
    put_people(project, "claim_1.csv", "C-1,a,1,Ada", "C-2,a,1,Bob")
    project.kill("enclave.admit:quarantined", "ingest_file", SOURCE, "claim_1.csv", digest)
    with project.open_enclave() as enclave:
        assert enclave.count_persons().rows == {"claim": 2}
        enclave.ingest_file(SOURCE, "claim_1.csv", digest)
        assert enclave.count_persons().rows == {"claim": 2}
