"""What lies in a source, held against what is known; what is wrong with a file is recorded once."""

from __future__ import annotations

import os

import pytest

from tests.builders.enclave import House
from wellspring.errors import NotFound

pytestmark = pytest.mark.live


def states(house: House) -> dict[str, str]:
    with house.opened() as enclave:
        return {file.name: file.state for file in enclave.list_files("clearinghouse")}


def test_says_of_each_file_what_it_is(house: House) -> None:
    house.put("claim_1.csv", "C-1,a,1")
    house.put("other.csv", "C-1,a,1")
    house.vendor.put("claim_2.csv.part", b"")
    house.vendor.put(".claim_3.csv", b"")
    assert states(house) == {"claim_1.csv": "new", "other.csv": "unmatched"}
    with house.opened() as enclave:
        drop = enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest).drop
        listed = {file.name: file for file in enclave.list_files("clearinghouse")}
    assert (listed["claim_1.csv"].state, listed["claim_1.csv"].drop) == ("ingested", drop.id)
    assert listed["claim_1.csv"].contract == "claim"
    assert listed["other.csv"].contract is None


def test_a_file_of_no_contract_is_a_finding_once(house: House) -> None:
    house.put("other.csv", "C-1,a,1")
    for _ in range(2):
        states(house)
    (finding,) = house.list_entries("finding")
    assert (finding.facts["code"], finding.facts["name"]) == ("no_contract", "other.csv")
    assert finding.subject.startswith("file:clearinghouse/")
    assert house.vendor.reads == 0


def test_a_name_that_holds_a_person_is_masked_and_its_file_left_alone(house: House) -> None:
    name = "claim_900-12-3456.csv"
    house.put(name, "C-1,a,1")
    with house.opened() as enclave:
        (listed,) = enclave.list_files("clearinghouse")
        with pytest.raises(NotFound) as refused:
            enclave.ingest_file("clearinghouse", name, house.contract().digest)
    assert listed.state == "unmatched"
    assert "900-12-3456" not in listed.name + refused.value.what
    (finding,) = house.list_entries("finding")
    assert finding.facts["code"] == "personal_name"
    assert "900-12-3456" not in finding.model_dump_json()
    assert house.vendor.reads == 0


def test_a_file_just_written_is_settling(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.put("claim_1.csv", "C-1,a,1")
    at = house.clock.now().timestamp()
    os.utime(house.vendor.outbox / "claim_1.csv", (at, at))
    waiting = house.vendor.source(settle_seconds=5, clock=house.clock)
    monkeypatch.setattr(house.vendor, "source", lambda **_: waiting)
    assert states(house) == {"claim_1.csv": "still_writing"}
    house.clock.pass_(seconds=6)
    assert states(house) == {"claim_1.csv": "new"}


def test_known_bytes_under_a_new_time_are_read_once(house: House) -> None:
    house.put("claim_1.csv", "C-1,a,1")
    with house.opened() as enclave:
        enclave.ingest_file("clearinghouse", "claim_1.csv", house.contract().digest)
    os.utime(house.vendor.outbox / "claim_1.csv", (1_700_000_900, 1_700_000_900))
    reads = house.vendor.reads
    assert states(house) == {"claim_1.csv": "ingested"}
    assert house.vendor.reads > reads
    reads = house.vendor.reads
    assert states(house) == {"claim_1.csv": "ingested"}
    assert house.vendor.reads == reads
