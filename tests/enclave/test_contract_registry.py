"""The enclave accepts only contracts of the project, and never one with weaker protection."""

from __future__ import annotations

import pytest

from tests.builders.enclave import ProjectFixture
from wellspring.data.contracts import contract as contracts
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.errors import CorruptedError, ProjectError, Refused
from wellspring.records.contracts import DataContract
from wellspring.trust.dlp.registry import load_scanner

pytestmark = pytest.mark.live


def open_registry(project: ProjectFixture) -> ContractRegistry:
    """Open the contract registry of an open enclave."""
    scanner = load_scanner(project.dependencies.project)
    return ContractRegistry(
        project.dependencies.project, project.store, scanner, step=project.step, clock=project.clock
    )


def test_a_contract_is_accepted_once_and_remembered(project: ProjectFixture) -> None:
    contract = project.contract()
    with project.open_enclave():
        registry = open_registry(project)
        for _ in range(2):
            assert registry.accept(contract.digest) == contract
        project.write_contract(version="2.0.0")
        assert registry.accepted_by_digest(contract.digest) == contract
        with pytest.raises(Refused):
            registry.accept(contract.digest)
        with pytest.raises(CorruptedError):
            registry.accepted_by_digest("0" * 64)
    assert [entry.subject for entry in project.list_entries("accept")] == ["contract:claim@1.0.0"]


def test_return_to_an_older_weaker_contract_is_refused(project: ProjectFixture) -> None:
    loose = project.write_contract(egress="plain")
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(loose.digest)
        registry.accept(project.write_contract(version="1.1.0").digest)
        project.write_contract(egress="plain")
        with pytest.raises(Refused, match="protects less"):
            registry.accept(loose.digest)
        newest = project.store.list_latest_contracts().get("claim")
    assert newest is not None
    assert newest.version == "1.1.0"


def test_changed_contract_with_same_version_is_refused(project: ProjectFixture) -> None:
    contract = project.contract()
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(contract.digest)
        page = project.folder / "contracts" / "claim.odcs.yaml"
        page.write_text(page.read_text() + "# a word more\n")
        (changed,) = registry.read_all()
        with pytest.raises(Refused, match=r"version is still 1\.0\.0") as refused:
            registry.accept(changed.digest)
        assert refused.value.verdict is not None
        assert refused.value.verdict.reasons[0].code == "version_unchanged"
        registry.accept(project.write_contract(version="1.0.1").digest)


def test_a_contract_that_cannot_be_read_stops_everything(project: ProjectFixture) -> None:
    (project.folder / "contracts" / "claim.odcs.yaml").write_text("nonsense: true\n")
    with project.open_enclave():
        registry = open_registry(project)
        with pytest.raises(ProjectError):
            registry.read_all()


def test_a_contract_that_gives_a_token_column_other_tokens_is_refused(project: ProjectFixture) -> None:
    first = project.contract()
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(first.digest)
        path = project.folder / "contracts" / "claim.odcs.yaml"
        lower = "{ property: normalization, value: trim nfc lower }, { property: domain"
        path.write_text(path.read_text().replace("1.0.0", "1.1.0").replace("{ property: domain", lower))
        with pytest.raises(Refused, match="changes its normalization") as refused:
            registry.accept(project.contract().digest)
        assert refused.value.verdict is not None
        assert [reason.code for reason in refused.value.verdict.reasons] == ["normalization_changed"]


def add_contract(project: ProjectFixture, name: str, **replacements: str) -> DataContract:
    """Write a second contract of the same source beside the first, and return it."""
    text = (project.folder / "contracts" / "claim.odcs.yaml").read_text()
    own = {"id: claim\n": f"id: {name}\n", "name: claim\n": f"name: {name}\n", '"claim_': f'"{name}_'}
    for old, new in {**own, **replacements}.items():
        assert old in text
        text = text.replace(old, new)
    (project.folder / "contracts" / f"{name}.odcs.yaml").write_text(text)
    return next(
        contract
        for contract in contracts.load_all(
            project.folder / "contracts", tenant="wellspring-benefits", known_since=project.clock.now()
        )
        if contract.name == name
    )


def test_contract_of_another_name_that_protects_a_column_less_is_refused(project: ProjectFixture) -> None:
    token = "egress, value: token }, { property: domain, value: claim }"
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        again = add_contract(project, "again")
        registry.accept(again.digest)
        looser = add_contract(project, "loose", **{token: "egress, value: plain }"})
        with pytest.raises(Refused, match=r"claim_id leaves as .*claim 1\.0\.0, an earlier contract") as refused:
            registry.accept(looser.digest)
        assert refused.value.verdict is not None
        assert {reason.code for reason in refused.value.verdict.reasons} == {"weakened_protection"}
        assert "loose" not in project.store.list_latest_contracts()
    (entry,) = project.list_entries("accept", "refused")
    assert entry.subject == "contract:loose@1.0.0"


def test_contract_of_the_same_files_under_a_new_source_that_protects_a_column_less_is_refused(
    project: ProjectFixture,
) -> None:
    token = "egress, value: token }, { property: domain, value: claim }"
    source = {"source, value: clearinghouse": "source, value: second"}
    path = project.folder / "wellspring.toml"
    path.write_text(path.read_text() + "\n[sources.second]\nkind = 'sftp'\naddress = 'embedded'\n")
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(project.contract().digest)
        looser = add_contract(project, "loose", **{token: "egress, value: plain }", '"loose_*': '"*'}, **source)
        with pytest.raises(Refused, match="an earlier contract of the source clearinghouse"):
            registry.accept(looser.digest)
        # Other files.
        registry.accept(add_contract(project, "open", **{token: "egress, value: plain }"}, **source).digest)
        registry.accept(add_contract(project, "loose", **{'"loose_*': '"*'}, **source).digest)


@pytest.mark.parametrize("column", ["member_name", "street", "note", "ssn", "e_mail"])
def test_first_contract_that_lets_personal_data_leave_is_refused(project: ProjectFixture, column: str) -> None:
    plain = f"name: {column}\n        logicalType: string\n        classification: operational\n"
    plain += "        customProperties: [{ property: egress, value: plain }]\n      - name: kind\n"
    with project.open_enclave():
        registry = open_registry(project)
        open_contract = add_contract(project, "open", **{"name: kind\n": plain})
        with pytest.raises(Refused, match=f"{column} holds .* by its name, and leaves as plain") as refused:
            registry.accept(open_contract.digest)
        assert refused.value.verdict is not None
        assert refused.value.verdict.reasons[0].code == "personal_column"
        closed = add_contract(project, "open", **{"name: kind\n": plain.replace("value: plain", "value: never")})
        registry.accept(closed.digest)


def test_version_with_a_check_that_spells_a_protected_column_is_refused(project: ProjectFixture) -> None:
    named = "name: claim_id\n        logicalType: string\n"
    spelling = {named: f"{named}        logicalTypeOptions: {{ pattern: '^d' }}\n"}
    with project.open_enclave():
        registry = open_registry(project)
        registry.accept(add_contract(project, "spelled").digest)
        spelled = add_contract(project, "spelled", **spelling, **{"version: 1.0.0": "version: 1.1.0"})
        with pytest.raises(Refused, match="claim_id has a pattern that spells letters") as refused:
            registry.accept(spelled.digest)
        assert refused.value.verdict is not None
        assert {reason.code for reason in refused.value.verdict.reasons} == {"revealing_check"}
        shape = {named: f"{named}        logicalTypeOptions: {{ pattern: '^[A-Z]{{3}}[0-9]{{6}}$' }}\n"}
        registry.accept(add_contract(project, "spelled", **shape, **{"version: 1.0.0": "version: 1.1.0"}).digest)
    (entry,) = project.list_entries("accept", "refused")
    assert entry.subject == "contract:spelled@1.1.0"
