"""Which contracts the enclave goes by: those that stand in the project, and never a looser one."""

from __future__ import annotations

import pytest

from tests.enclave.house import House
from wellspring.enclave.promises import Promises
from wellspring.errors import Broken, ProjectError, Refused

pytestmark = pytest.mark.live


def test_a_contract_is_accepted_once_and_remembered(house: House) -> None:
    contract = house.contract()
    with house.opened():
        promises = Promises(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        for _ in range(2):
            assert promises.accepted(contract.digest) == contract
        house.promise(version="2.0.0")
        assert promises.known(contract.digest) == contract
        with pytest.raises(Refused):
            promises.accepted(contract.digest)
        with pytest.raises(Broken):
            promises.known("0" * 64)
    assert [entry.subject for entry in house.entries("accept")] == ["contract:claim@1.0.0"]


def test_going_back_to_a_looser_contract_is_loosening_too(house: House) -> None:
    loose = house.promise(leaves="as_is")
    with house.opened():
        promises = Promises(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        promises.accepted(loose.digest)
        promises.accepted(house.promise(version="1.1.0").digest)
        house.promise(leaves="as_is")
        with pytest.raises(Refused, match="protects less"):
            promises.accepted(loose.digest)
        newest = house.store.newest_contract("claim")
    assert newest is not None
    assert newest.version == "1.1.0"


def test_a_contract_that_changed_under_its_version_is_refused(house: House) -> None:
    contract = house.contract()
    with house.opened():
        promises = Promises(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        promises.accepted(contract.digest)
        page = house.folder / "contracts" / "claim.odcs.yaml"
        page.write_text(page.read_text() + "# a word more\n")
        (changed,) = promises.every()
        with pytest.raises(Refused, match=r"still called 1\.0\.0") as refused:
            promises.accepted(changed.digest)
        assert refused.value.verdict is not None
        assert refused.value.verdict.reasons[0].code == "same_version"
        promises.accepted(house.promise(version="1.0.1").digest)


def test_a_contract_that_cannot_be_read_stops_everything(house: House) -> None:
    (house.folder / "contracts" / "claim.odcs.yaml").write_text("nonsense: true\n")
    with house.opened():
        promises = Promises(house.ports_now.project, house.store, step=house.step, clock=house.clock)
        with pytest.raises(ProjectError):
            promises.every()
