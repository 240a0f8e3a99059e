"""May they? Deny by default, whatever is asked and however; and what a wrong policy file says about itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import JsonValue

from wellspring.errors import ProjectError
from wellspring.trust import policy
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import CEDAR_SCHEMA, PolicyResource, PolicySet

EXAMPLE = Path(__file__).parents[2] / "examples/health_plan/policies"
RELEASE = PolicyResource("release:0123456789ab", "denials", frozenset({"user:ana"}))
FINDING = PolicyResource("finding:0123456789ab", source="vendor")
DENIALS, MEMBER = PolicyResource("model:denials"), PolicyResource("domain:member")
OPEN: dict[str, JsonValue] = {"purpose": "claim_review", "conversation_id": "0" * 32}
EVERYTHING = "permit (principal, action, resource);"


def user(name: str, *roles: str) -> Principal:
    return Principal(f"user:{name}", roles)


def service(name: str) -> Principal:
    return Principal(f"service:{name}")


@pytest.fixture(scope="module")
def example() -> PolicySet:
    return policy.load_policies(EXAMPLE)


@pytest.mark.parametrize(("own_tenant", "resource_tenant"), [("", "north"), ("north", ""), ("north", "south")])
def test_a_request_across_two_tenants_is_refused_whatever_the_policies_permit(
    own_tenant: str, resource_tenant: str
) -> None:
    policies = PolicySet({"all.cedar": EVERYTHING})
    for principal in (Principal("user:ana", ("owner",), own_tenant), Principal("service:portal", (), own_tenant)):
        verdict = policy.evaluate_request(policies, principal, "predict", DENIALS._replace(tenant=resource_tenant), {})
        assert [reason.code for reason in verdict.reasons] == ["other_tenant"]
        assert policy.evaluate_request(policies, principal, "predict", DENIALS._replace(tenant=own_tenant), {}).passed


def test_a_policy_can_name_the_tenant() -> None:
    text = 'permit (principal, action, resource) when { resource.tenant == "north" && principal.tenant == "north" };'
    policies = PolicySet({"north.cedar": text})
    for resource in (DENIALS, MEMBER, RELEASE, FINDING):
        action = {"domain": "tokenize", "release": "propose", "finding": "acknowledge"}.get(
            resource.name.partition(":")[0], "predict"
        )
        context = OPEN if resource is MEMBER else {}
        for tenant, permitted in (("north", True), ("south", False), ("", False)):
            verdict = policy.evaluate_request(
                policies, Principal("user:ana", (), tenant), action, resource._replace(tenant=tenant), context
            )
            assert verdict.passed is permitted, (resource.name, tenant, verdict)


@pytest.mark.parametrize(
    ("principal", "action", "resource", "context"),
    [
        (service("portal"), "predict", DENIALS, {}),
        (service("portal"), "read_features", PolicyResource("view:claim_features"), {}),
        (service("owner"), "train", DENIALS, {}),
        (service("owner"), "ingest", PolicyResource("source:clearinghouse"), {}),
        (service("owner"), "transform", PolicyResource("project:benefits"), {}),
        (service("scheduler"), "ingest", PolicyResource("source:clearinghouse"), {}),
        (service("api"), "tokenize", MEMBER, OPEN),
        (service("portal"), "tokenize", MEMBER, OPEN),
        (user("ana", "owner"), "propose", RELEASE, {}),
        (user("ana", "owner"), "rollback", DENIALS, {}),
        (user("ana", "owner"), "acknowledge", FINDING, {}),
        (user("cy", "author"), "acknowledge", FINDING, {}),
        (user("ana", "owner", "approver"), "predict", DENIALS, {}),
        (user("bo", "approver"), "approve", RELEASE, {}),
    ],
)
def test_the_examples_policies_permit_what_they_say(
    example: PolicySet, principal: Principal, action: str, resource: PolicyResource, context: dict[str, JsonValue]
) -> None:
    verdict = policy.evaluate_request(example, principal, action, resource, context)
    assert verdict.passed, verdict
    assert verdict.subject == resource.name
    assert [reason.code for reason in verdict.reasons] == ["permitted"]


@pytest.mark.parametrize(
    ("principal", "action", "resource", "context", "code"),
    [
        (user("ana", "owner"), "approve", RELEASE, {}, "forbidden"),
        (user("ana", "owner", "approver"), "approve", RELEASE, {}, "forbidden"),
        (user("cy", "owner"), "approve", RELEASE, {}, "no_policy"),
        (user("bo", "approver"), "propose", RELEASE, {}, "no_policy"),
        (user("bo", "approver"), "acknowledge", FINDING, {}, "no_policy"),
        (service("worker"), "acknowledge", FINDING, {}, "unknown"),
        (service("scheduler"), "replay_rows", PolicyResource("project:benefits"), {}, "no_policy"),
        (service("worker"), "ingest", PolicyResource("source:clearinghouse"), {}, "no_policy"),
        (service("owner"), "ingest", PolicyResource("project:benefits"), {}, "unknown"),
        (user("ana", "owner"), "acknowledge", DENIALS, {}, "unknown"),
        (user("bo"), "approve", RELEASE, {}, "no_policy"),
        (user("eve", "administrator"), "predict", DENIALS, {}, "no_policy"),
        (service("portal"), "predict", PolicyResource("model:other"), {}, "no_policy"),
        (service("portal"), "train", DENIALS, {}, "no_policy"),
        (service("unregistered"), "predict", DENIALS, {}, "no_policy"),
        (service("worker"), "tokenize", MEMBER, OPEN, "no_policy"),
        (service("portal"), "tokenize", MEMBER, {"purpose": "claim_review"}, "no_policy"),
        (service("unregistered"), "tokenize", MEMBER, OPEN, "no_policy"),
        (service("api"), "tokenize", MEMBER, {"purpose": "claim_review"}, "no_policy"),
        (service("api"), "tokenize", MEMBER, {**OPEN, "purpose": "curiosity"}, "no_policy"),
        (service("api"), "tokenize", MEMBER, {}, "unknown"),
        (service("api"), "tokenize", MEMBER, {**OPEN, "more": 1}, "unknown"),
        (service("api"), "reveal", MEMBER, OPEN, "unknown"),
        (service("portal"), "predict", RELEASE, {}, "unknown"),
        (service("portal"), "approve", RELEASE, {}, "unknown"),
        (service("portal"), "predict", PolicyResource("planet:mars"), {}, "unknown"),
        (Principal("robot:x"), "predict", DENIALS, {}, "unknown"),
        (Principal("portal"), "predict", DENIALS, {}, "unknown"),
        (user('ana" in Role::"approver'), "approve", RELEASE, {}, "unknown"),
        (user("bo", "approver"), "approve", RELEASE._replace(proposers=frozenset({"?"})), {}, "unknown"),
    ],
)
def test_what_no_policy_permits_is_denied_with_a_reason(
    example: PolicySet,
    principal: Principal,
    action: str,
    resource: PolicyResource,
    context: dict[str, JsonValue],
    code: str,
) -> None:
    verdict = policy.evaluate_request(example, principal, action, resource, context)
    assert verdict.outcome == "fail"
    assert [reason.code for reason in verdict.reasons] == [code]
    assert verdict.reasons[0].message


@pytest.mark.parametrize("policies", [PolicySet({}), policy.load_policies(None)])
def test_without_policies_nothing_is_permitted(policies: PolicySet) -> None:
    for principal, action, resource in (
        (service("portal"), "predict", DENIALS),
        (user("bo", "approver"), "approve", RELEASE),
        (user("ana", "owner"), "rollback", DENIALS),
    ):
        verdict = policy.evaluate_request(policies, principal, action, resource, {})
        assert (verdict.outcome, verdict.reasons[0].code) == ("fail", "no_policy")


def test_a_policy_that_cannot_be_evaluated_permits_nothing() -> None:
    # Cedar alone would skip the forbid, because its sum is too large, and permit.
    late = "forbid (principal, action, resource is Release) when { 9223372036854775807 + 1 > 2 };"
    policies = PolicySet({"a.cedar": f"{EVERYTHING}\n{late}"})
    assert policy.evaluate_request(policies, user("bo"), "approve", RELEASE, {}).reasons[0].code == "policy_error"
    assert policy.evaluate_request(policies, service("portal"), "predict", DENIALS, {}).passed


def test_a_name_that_may_be_a_persons_is_never_repeated(example: PolicySet) -> None:
    for name in ("900-12-3456", "John Smith", "WSP123456789"):
        for resource in (name, f"model:{name}"):
            verdict = policy.evaluate_request(example, service("portal"), "predict", PolicyResource(resource), {})
            assert verdict.reasons[0].code == "unknown"
            assert name not in verdict.model_dump_json()


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("permit (principal, action, resource)", "a.cedar:1: unexpected end of input"),
        (f"// fine\n{EVERYTHING}\n\n\nforbid (prncipal, action, resource);", "a.cedar:5: "),
        (f'{EVERYTHING}\n@id("x; // y")\npermit (principal, action == Action::"fly", resource);', "a.cedar:2: "),
        ("\npermit (principal, action, resource) when { resource.colour == 1 };", "a.cedar:2: attribute `colour`"),
        ('permit (principal in Roll::"owner", action, resource);', "a.cedar:1: unrecognized entity type `Roll`"),
        ("\n\npermit (principal == ?principal, action, resource);", "a.cedar:3: a template is not a policy"),
        ('permit (principal, action, resource) when { "open', "a.cedar:1: "),
    ],
)
def test_a_wrong_policy_is_named_by_file_and_line(text: str, output: str) -> None:
    with pytest.raises(ProjectError) as error:
        PolicySet({"a.cedar": text, "b.cedar": EVERYTHING})
    assert output in error.value.what


def test_all_mistakes_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_text("permit (who, action, resource);")
    (tmp_path / "b.cedar").write_text(f"{EVERYTHING}\npermit (principal, action, resource) wen {{ true }};")
    with pytest.raises(ProjectError) as error:
        policy.load_policies(tmp_path)
    assert [line.partition(": ")[0] for line in error.value.what.splitlines()] == ["a.cedar:1", "b.cedar:2"]
    (tmp_path / "b.cedar").write_bytes(b"\xff\xfe")
    with pytest.raises(ProjectError, match="UTF-8"):
        policy.load_policies(tmp_path)
    (tmp_path / "b.cedar").unlink()
    (tmp_path / "b.cedar").mkdir()
    with pytest.raises(ProjectError, match="cannot be read"):
        policy.load_policies(tmp_path)


def test_the_deciding_policy_is_named_by_id_or_location() -> None:
    policies = PolicySet({"a.cedar": f"// nothing\n{EVERYTHING}", "b.cedar": f'@id("all of it") {EVERYTHING}'})
    output = policy.evaluate_request(policies, user("ana"), "predict", DENIALS, {}).reasons[0].message
    assert "a.cedar:2" in output
    assert "all of it" in output


def test_the_digest_is_of_all_files_and_of_nothing_else() -> None:
    sets: list[dict[str, str]] = [
        {"a.cedar": "x", "b.cedar": "y"}, {"a.cedar": "y", "b.cedar": "x"}, {"a.cedar": "x"}, {"a.cedar": "x\n"}, {},
    ]  # fmt: skip
    assert len({policy.hash_policies(files) for files in sets}) == len(sets)
    assert policy.decode_policies(policy.encode_policies({"a.cedar": EVERYTHING})).digest == policy.hash_policies(
        {"a.cedar": EVERYTHING}
    )
    assert policy.load_policies(EXAMPLE).digest == policy.load_policies(EXAMPLE).digest


def test_the_copy_of_the_schema_for_editors_is_current() -> None:
    assert (EXAMPLE / "wellspring.cedarschema").read_text() == CEDAR_SCHEMA


def test_quoted_strings_exclude_comments() -> None:
    text = '@id("for a claim")\npermit (principal, action, resource) // "john"\nwhen { context.purpose == "review" };'
    assert PolicySet({"a.cedar": text.replace("action,", 'action == Action::"tokenize",')}).quoted_strings == {
        "for a claim", "tokenize", "review",
    }  # fmt: skip
    assert PolicySet({}).quoted_strings == set()


@pytest.mark.parametrize("name", ["forbid.CEDAR", "team/forbid.cedar"])
def test_a_policy_that_would_not_be_read_is_an_error(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("forbid (principal, action, resource);")
    with pytest.raises(ProjectError, match=f"{name}: this policy is not read"):
        policy.load_policies(tmp_path)


def test_a_pipe_in_the_place_of_a_policy_stops_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "forbid.cedar")
    with pytest.raises(ProjectError, match="is not a regular file"):
        policy.load_policies(tmp_path)
