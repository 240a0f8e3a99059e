"""The enclave accepts only contracts of the project, and never one with weaker protection."""

from __future__ import annotations

import pytest

from tests.builders.enclave import ProjectFixture
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.errors import CorruptedError, ProjectError, Refused

pytestmark = pytest.mark.live


def open_registry(project: ProjectFixture) -> ContractRegistry:
    """Open the contract registry of an open enclave."""
    return ContractRegistry(project.dependencies.project, project.store, step=project.step, clock=project.clock)


def test_a_contract_is_accepted_once_and_remembered(project: ProjectFixture) -> None:
    contract = project.contract()
    with project.open_enclave():
        contracts = open_registry(project)
        for _ in range(2):
            assert contracts.accept(contract.digest) == contract
        project.write_contract(version="2.0.0")
        assert contracts.accepted_by_digest(contract.digest) == contract
        with pytest.raises(Refused):
            contracts.accept(contract.digest)
        with pytest.raises(CorruptedError):
            contracts.accepted_by_digest("0" * 64)
    assert [entry.subject for entry in project.list_entries("accept")] == ["contract:claim@1.0.0"]


def test_return_to_an_older_weaker_contract_is_refused(project: ProjectFixture) -> None:
    loose = project.write_contract(egress="plain")
    with project.open_enclave():
        contracts = open_registry(project)
        contracts.accept(loose.digest)
        contracts.accept(project.write_contract(version="1.1.0").digest)
        project.write_contract(egress="plain")
        with pytest.raises(Refused, match="protects less"):
            contracts.accept(loose.digest)
        newest = project.store.get_latest_contract("claim")
    assert newest is not None
    assert newest.version == "1.1.0"


def test_changed_contract_with_same_version_is_refused(project: ProjectFixture) -> None:
    contract = project.contract()
    with project.open_enclave():
        contracts = open_registry(project)
        contracts.accept(contract.digest)
        page = project.folder / "contracts" / "claim.odcs.yaml"
        page.write_text(page.read_text() + "# a word more\n")
        (changed,) = contracts.read_all()
        with pytest.raises(Refused, match=r"version is still 1\.0\.0") as refused:
            contracts.accept(changed.digest)
        assert refused.value.verdict is not None
        assert refused.value.verdict.reasons[0].code == "version_unchanged"
        contracts.accept(project.write_contract(version="1.0.1").digest)


def test_a_contract_that_cannot_be_read_stops_everything(project: ProjectFixture) -> None:
    (project.folder / "contracts" / "claim.odcs.yaml").write_text("nonsense: true\n")
    with project.open_enclave():
        contracts = open_registry(project)
        with pytest.raises(ProjectError):
            contracts.read_all()


def test_a_contract_that_gives_a_token_column_other_tokens_is_refused(project: ProjectFixture) -> None:
    first = project.contract()
    with project.open_enclave():
        contracts = open_registry(project)
        contracts.accept(first.digest)
        path = project.folder / "contracts" / "claim.odcs.yaml"
        lower = "{ property: normalization, value: trim nfc lower }, { property: domain"
        path.write_text(path.read_text().replace("1.0.0", "1.1.0").replace("{ property: domain", lower))
        with pytest.raises(Refused, match="changes its normalization") as refused:
            contracts.accept(project.contract().digest)
        assert refused.value.verdict is not None
        assert [reason.code for reason in refused.value.verdict.reasons] == ["normalization_changed"]
