"""Tokenization under the policies: recorded each time, without any value in entries or errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import JsonValue

from tests.builders import drops
from tests.builders.enclave import ProjectFixture
from wellspring.bootstrap.policy_ports import open_released_policies
from wellspring.enclave import tokenization_service
from wellspring.enclave.contract_registry import ContractRegistry
from wellspring.enclave.tokenization_service import TokenizationService, parse_request, principal_for_uid
from wellspring.errors import NotFound, ProjectError, Refused
from wellspring.project import Project, load_project
from wellspring.runtime.service_users import ServiceUsers
from wellspring.trust.dlp.registry import load_scanner
from wellspring.trust.identity.port import Principal

SERVICE_UIDS = ServiceUsers().uids

pytestmark = pytest.mark.live
OPEN = "0123456789abcdef" * 2
PERMIT = """
permit (principal == Service::"api", action == Action::"tokenize", resource)
when { context has conversation_id && context.purpose == "claim_review" };
"""
SECRET = "900-12-3456"


class Talk:
    """A project with one ingested drop, and its tokenization requests."""

    def __init__(self, project: ProjectFixture) -> None:
        self.project = project
        project.put("claim_1.csv", "A1,a,1.00", "A2,b,2.00")
        with project.open_enclave() as enclave:
            table = drops.read_rows(enclave.ingest_file("clearinghouse", "claim_1.csv", project.contract().digest))
        self.tokens = table["claim_id"].to_pylist()
        self.policies = project.folder / "policies"
        self.policies.mkdir()
        self.allow(PERMIT)
        with (project.folder / "wellspring.toml").open("a") as toml:
            toml.write("\n[models]\n\n[callers.portal]\nuid = 4711\n")
        self.ports = project.build_dependencies()
        self.talks = TokenizationService(
            self.ports.project,
            self.ports.store,
            self.ports.keys,
            load_policies=open_released_policies(self.ports.project, self.ports.index).load,
            step=self.ports.step,
            clock=project.clock,
        )

    def allow(self, text: str) -> None:
        (self.policies / "services.cedar").write_text(text)

    def ask(self, *values: str, uid: int | None = None, **fields: JsonValue) -> JsonValue:
        request: dict[str, JsonValue] = {
            "op": "tokenize", "domain": "claim", "values": [*values], "purpose": "claim_review",
            "conversation_id": OPEN,
        }  # fmt: skip
        request.update(fields)
        return self.talks.tokenize_values(request, os.geteuid() if uid is None else uid)

    def release_contract(self) -> None:
        """Put the contract that is on disk into force."""
        scanner = load_scanner(self.ports.project)
        registry = ContractRegistry(
            self.ports.project,
            self.ports.store,
            scanner,
            step=self.ports.step,
            clock=self.ports.clock,
            index=self.ports.index,
        )
        change = self.project.draft_release()
        self.project.sign_release(change)
        registry.accept_change(change.id)

    def result(self) -> list[tuple[str, str]]:
        every = [*self.project.list_entries("tokenize"), *self.project.list_entries("tokenize", "refused")]
        every += self.project.list_entries("authorize", "refused")
        return [(entry.action, entry.phase) for entry in every]


@pytest.fixture
def talk(project: ProjectFixture) -> Iterator[Talk]:
    yield Talk(project)
    project.close()


def test_the_tokens_are_those_of_the_lake_in_the_order_asked(talk: Talk) -> None:
    assert talk.ask("A2", "A1", "A2") == [talk.tokens[1], talk.tokens[0], talk.tokens[1]]


def test_every_tokenization_is_recorded_with_principal_and_count_and_without_values(talk: Talk) -> None:
    talk.ask(SECRET, "A1")
    (entry,) = talk.project.list_entries("tokenize")
    assert entry.subject == "domain:claim"
    assert {name: entry.facts[name] for name in ("principal", "count", "purpose", "conversation_id")} == {
        "principal": "service:api", "count": 2, "purpose": "claim_review",
            "conversation_id": OPEN,
    }  # fmt: skip
    assert entry.facts["policy_digest"] == talk.talks._load_policies().digest
    assert SECRET not in entry.model_dump_json()
    assert talk.project.list_entries("authorize") == []


@pytest.mark.parametrize(
    "fields",
    [
        {"conversation_id": None},
        {"purpose": "curiosity"},
        {"uid": 4711},
        {"uid": 4712},
        {"uid": SERVICE_UIDS["worker"]},
    ],
)
def test_tokenization_without_permitting_policy_is_refused(talk: Talk, fields: dict[str, JsonValue]) -> None:
    with pytest.raises(Refused, match="may not tokenize") as refused:
        talk.ask(SECRET, **fields)  # type: ignore[arg-type]
    assert SECRET not in refused.value.what
    assert talk.result() == [("authorize", "refused")]
    (entry,) = talk.project.list_entries("authorize", "refused")
    assert (entry.facts["requested_action"], entry.facts["count"]) == ("tokenize", 1)
    assert SECRET not in entry.model_dump_json()


@pytest.mark.parametrize(
    "fields", [{"purpose": "john_smith"}, {"domain": "john_smith"}, {"purpose": "smith_j", "domain": "john_smith"}]
)
@pytest.mark.parametrize("permitted", [True, False])
def test_words_outside_policies_and_contracts_are_not_recorded(
    talk: Talk, fields: dict[str, Any], permitted: bool
) -> None:
    talk.allow('// john_smith and "smith_j" asked\npermit (principal, action, resource);' if permitted else PERMIT)
    if permitted and "domain" not in fields:
        talk.ask("A1", **fields)
    else:
        with pytest.raises(NotFound if permitted else Refused):
            talk.ask("A1", uid=4711, **fields)
    result = [*talk.project.list_entries("tokenize"), *talk.project.list_entries("tokenize", "failed")]
    (entry,) = [*result, *talk.project.list_entries("authorize", "refused")]
    assert "smith" not in entry.model_dump_json()
    assert entry.facts["purpose"] == ("unknown" if permitted or "purpose" in fields else "claim_review")
    assert entry.subject == ("domain:unknown" if "domain" in fields else "domain:claim")


def test_a_project_without_policies_grants_no_token(talk: Talk) -> None:
    talk.allow("")
    with pytest.raises(Refused, match="no policy permits it"):
        talk.ask("A1")
    talk.allow("permit (principal, action, resource)")
    with pytest.raises(ProjectError, match=r"services\.cedar:1"):
        talk.ask("A1")
    talk.allow(PERMIT)
    talk.ask("A1")


def test_contract_error_is_reported_only_to_authorized_callers(talk: Talk) -> None:
    (talk.project.folder / "contracts/other.odcs.yaml").write_text("not: a contract")
    with pytest.raises(Refused, match="may not tokenize"):
        talk.ask("A1", uid=54321)
    assert len(talk.project.list_entries("authorize", "refused")) == 1
    with pytest.raises(ProjectError, match=r"other\.odcs\.yaml"):
        talk.ask("A1")


def test_value_outside_the_contract_pattern_is_refused_and_not_quoted(talk: Talk) -> None:
    path = talk.project.folder / "contracts/claim.odcs.yaml"
    form = "        classification: identifier\n        logicalTypeOptions: { pattern: '^[A-Z][0-9]$' }\n"
    text = path.read_text().replace("        classification: identifier\n", form)
    path.write_text(text.replace("version: 1.0.0", "version: 1.1.0"))
    # What is on disk says nothing before it is released.
    talk.ask("A1", SECRET)
    talk.release_contract()
    with pytest.raises(Refused, match="2 of 3 values") as refused:
        talk.ask("A1", SECRET, "A12")
    assert SECRET not in f"{refused.value.what} {refused.value.fix} {refused.value.verdict}"
    assert talk.result() == [("tokenize", "done"), ("tokenize", "refused")]
    (entry,) = talk.project.list_entries("tokenize", "refused")
    assert entry.facts["verdict"] == {"outcome": "fail", "reasons": [{"code": "pattern", "count": 2}]}
    assert SECRET not in entry.model_dump_json()
    talk.ask("A1", "A2")


def test_unknown_domain_has_no_tokens(talk: Talk) -> None:
    with pytest.raises(NotFound, match="no contract"):
        talk.ask("A1", domain="planet")
    folder = talk.project.folder / "contracts"
    text = (folder / "claim.odcs.yaml").read_text().replace("value: claim }]", "value: invoice }]")
    text = text.replace("id: claim\n", "id: invoice\n").replace("name: claim\n", "name: invoice\n")
    (folder / "invoice.odcs.yaml").write_text(text)
    with pytest.raises(NotFound, match="no value of it was received"):
        talk.ask("A1", domain="invoice")


@pytest.mark.parametrize(
    "fields",
    [
        {"domain": 7}, {"domain": SECRET}, {"domain": None},
        {"values": []}, {"values": SECRET}, {"values": [7]}, {"values": [""]}, {"values": [SECRET * 20]},
        {"values": [None]}, {"values": ["A1"] * 51},
        {"purpose": SECRET}, {"purpose": ""}, {"purpose": None},
        {"conversation_id": SECRET}, {"conversation_id": 7}, {"conversation_id": OPEN.upper()},
    ],
)  # fmt: skip
def test_malformed_request_is_refused_without_quoting_it(fields: dict[str, JsonValue]) -> None:
    right: dict[str, JsonValue] = {
        "domain": "claim",
        "values": ["A1"],
        "purpose": "claim_review",
        "conversation_id": OPEN,
    }
    assert parse_request(right).values == ["A1"]
    with pytest.raises(Refused, match="is malformed") as refused:
        parse_request({**right, **fields})
    assert SECRET not in f"{refused.value.what} {refused.value.fix}"


def test_many_requests_refused_at_once_are_one_entry(talk: Talk) -> None:
    for _ in range(5):
        with pytest.raises(Refused):
            talk.ask("A1", uid=4711)
    talk.project.clock.pass_(seconds=2)
    with pytest.raises(Refused):
        talk.ask("A1", uid=4711)
    assert [entry.facts["suppressed_count"] for entry in talk.project.list_entries("authorize", "refused")] == [0, 4]


def test_principal_comes_from_the_peer_uid(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    project: Project = load_project(talk.project.folder)
    me = os.geteuid()
    assert principal_for_uid(project, me) == Principal("service:api")
    monkeypatch.setattr(tokenization_service.os, "geteuid", lambda: SERVICE_UIDS["enclave"])
    assert principal_for_uid(project, SERVICE_UIDS["api"]) == Principal("service:api")
    assert principal_for_uid(project, 4711) == Principal("service:portal")
    assert principal_for_uid(project, 0) == Principal("service:root")
    assert principal_for_uid(project, SERVICE_UIDS["worker"]) == Principal("service:nobody")
