"""Which contracts the enclave goes by: those that stand in the project, and never a looser one."""

from __future__ import annotations

import pytest

from tests.builders.enclave import House
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.errors import CorruptedError, ProjectError, Refused

pytestmark = pytest.mark.live


def test_a_contract_is_accepted_once_and_remembered(house: House) -> None:
    contract = house.contract()
    with house.opened():
        promises = ContractRegistry(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        for _ in range(2):
            assert promises.accept(contract.digest) == contract
        house.promise(version="2.0.0")
        assert promises.accepted_by_digest(contract.digest) == contract
        with pytest.raises(Refused):
            promises.accept(contract.digest)
        with pytest.raises(CorruptedError):
            promises.accepted_by_digest("0" * 64)
    assert [entry.subject for entry in house.list_entries("accept")] == ["contract:claim@1.0.0"]


def test_going_back_to_a_looser_contract_is_loosening_too(house: House) -> None:
    loose = house.promise(egress="plain")
    with house.opened():
        promises = ContractRegistry(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        promises.accept(loose.digest)
        promises.accept(house.promise(version="1.1.0").digest)
        house.promise(egress="plain")
        with pytest.raises(Refused, match="protects less"):
            promises.accept(loose.digest)
        newest = house.store.get_latest_contract("claim")
    assert newest is not None
    assert newest.version == "1.1.0"


def test_a_contract_that_changed_under_its_version_is_refused(house: House) -> None:
    contract = house.contract()
    with house.opened():
        promises = ContractRegistry(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        promises.accept(contract.digest)
        page = house.folder / "contracts" / "claim.odcs.yaml"
        page.write_text(page.read_text() + "# a word more\n")
        (changed,) = promises.read_all()
        with pytest.raises(Refused, match=r"still called 1\.0\.0") as refused:
            promises.accept(changed.digest)
        assert refused.value.verdict is not None
        assert refused.value.verdict.reasons[0].code == "version_unchanged"
        promises.accept(house.promise(version="1.0.1").digest)


def test_a_contract_that_cannot_be_read_stops_everything(house: House) -> None:
    (house.folder / "contracts" / "claim.odcs.yaml").write_text("nonsense: true\n")
    with house.opened():
        promises = ContractRegistry(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        with pytest.raises(ProjectError):
            promises.read_all()
