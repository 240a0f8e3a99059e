"""Evaluate requests with Cedar policies: deny by default, no side effects, one parse for each policy version.

A decision takes about 25 us on one core after parsing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from wellspring.errors import CorruptedError, ProjectError
from wellspring.records.record import Digest
from wellspring.records.verdict import Reason, Verdict, VerdictOutcome
from wellspring.runtime.files import read_plain_file
from wellspring.runtime.unloaded_files import list_unloaded_files
from wellspring.trust.identity.port import Principal
from wellspring_verify import canonical
from wellspring_verify.canonical import MalformedError

if TYPE_CHECKING:
    import cedarpy

CEDAR_SCHEMA = """\
// The principals, actions and resources of wellspring. A project's policies are validated against this at each start.
// tenant: empty for the project's own tenant. A request across two tenants is refused before any policy is asked.
entity Role;
entity User in [Role] { tenant: String };
entity Service { tenant: String };
entity Model { tenant: String };
entity View { tenant: String };
entity Domain { tenant: String };
entity Project { tenant: String };
entity Source { tenant: String };
// kind: "model", "policy", "transform" or "contract"; model: empty for the other kinds.
entity Release { tenant: String, kind: String, model: String, proposers: Set<User> };
entity Finding { tenant: String, source: String };
entity Drop { tenant: String, source: String };

action predict appliesTo { principal: [User, Service], resource: [Model], context: { freshness?: String } };
action train appliesTo { principal: [User, Service], resource: [Model], context: {} };
action prove appliesTo { principal: [User, Service], resource: [Model, Project], context: {} };
action ingest appliesTo { principal: [User, Service], resource: [Source], context: {} };
action transform, replay_rows, replay_predictions, record_outcomes, retain, draft_change appliesTo {
  principal: [User, Service], resource: [Project], context: {}
};
action read_features appliesTo { principal: [User, Service], resource: [View], context: { freshness?: String } };
action propose, approve, deploy appliesTo { principal: [User], resource: [Release], context: {} };
action rollback, undeploy appliesTo { principal: [User], resource: [Model], context: {} };
action acknowledge appliesTo { principal: [User], resource: [Finding], context: {} };
action withdraw, rejudge, discard appliesTo { principal: [User], resource: [Drop], context: {} };
action hold, lift_hold appliesTo { principal: [User], resource: [Project], context: {} };
action tokenize appliesTo {
  principal: [User, Service], resource: [Domain], context: { purpose: String, conversation_id?: String }
};
"""
_ENTITY_TYPES = {
    "user": ("User", r"[a-z][a-z0-9_-]{0,30}"),
    "service": ("Service", r"[a-z][a-z0-9_-]{0,62}"),
    "model": ("Model", r"[a-z][a-z0-9_]{0,62}"),
    "view": ("View", r"[a-z][a-z0-9_]{0,62}"),
    "domain": ("Domain", r"[a-z][a-z0-9_]{0,62}"),
    "project": ("Project", r"[a-z][a-z0-9_]{1,39}"),
    "source": ("Source", r"[a-z][a-z0-9_-]{0,39}"),
    "release": ("Release", r"[0-9a-f]{12}"),
    "finding": ("Finding", r"[0-9a-f]{12}"),
    "drop": ("Drop", r"[a-z][a-z0-9_-]{0,39}-[0-9a-f]{12}"),
}

_TOKEN_PATTERN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;|[^\s;"/]+|["/]')


class PolicyResource(NamedTuple):
    """The resource of a request: model:NAME, view:NAME, domain:NAME, source:NAME, project:NAME, release:ID, finding:ID,
    drop:ID.

    kind, model, proposers: of a release. source: of a finding or a drop. tenant: empty for the project's own tenant.
    """

    name: str
    model: str = ""
    proposers: frozenset[str] = frozenset()
    source: str = ""
    tenant: str = ""
    kind: str = ""


class PolicyStatement(NamedTuple):
    """One policy of a file, and its first line."""

    text: str
    file: str
    line: int

    @property
    def location(self) -> str:
        return f"{self.file}:{self.line}"


class PolicySet:
    """The policies of one project, parsed and validated against CEDAR_SCHEMA.

    files: their texts by name; digest: of them. statements: each policy. quoted_strings: every quoted text outside
    comments.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        """Parse the files (name -> text). Raises ProjectError that lists every mistake with its file and line."""
        import cedarpy

        self.files = dict(files)
        self.digest = hash_policies(files)
        self.statements = [statement for name in sorted(files) for statement in split_policies(files[name], name)]
        problems = [
            f"{statement.location}: {parse_error}"
            for statement in self.statements
            if (parse_error := _parse_error(statement.text))
        ]
        text = "\n".join(statement.text for statement in self.statements)
        self.quoted_strings = frozenset(
            token[0][1:-1] for token in _TOKEN_PATTERN.finditer(text) if token[0].startswith('"')
        )
        if not problems:
            for validation_error in cedarpy.validate_policies(text, CEDAR_SCHEMA).errors:
                statement = self.statements[int(validation_error.policy_id.removeprefix("policy"))]
                problems.append(
                    f"{statement.location}: {validation_error.error.partition(', ')[2] or validation_error.error}"
                )
        if problems:
            raise ProjectError("\n".join(dict.fromkeys(problems)), fix="correct the policy there")
        self._cedar_policies = cedarpy.PolicySet.from_str(text)
        self._cedar_schema = cedarpy.Schema.from_str(CEDAR_SCHEMA)

    def evaluate(
        self, principal: Principal, action: str, resource: PolicyResource, context: Mapping[str, JsonValue]
    ) -> cedarpy.AuthzResult | None:
        """Evaluate a request with Cedar; None if its principal or resource is not in the schema."""
        import cedarpy

        principal_uid, resource_uid = _entity_uid(principal.name), _entity_uid(resource.name)
        if principal_uid is None or resource_uid is None:
            return None
        parents = [{"type": "Role", "id": role} for role in principal.roles]
        attributes: dict[str, object] = {"tenant": resource.tenant}
        if resource_uid["type"] == "Release":
            proposers = [_entity_uid(name) for name in sorted(resource.proposers)]
            if None in proposers:
                return None
            attributes |= {"kind": resource.kind, "model": resource.model}
            attributes |= {"proposers": [{"__entity": proposer} for proposer in proposers]}
        if resource_uid["type"] in {"Finding", "Drop"}:
            attributes["source"] = resource.source
        entities: list[dict[str, object]] = [
            {"uid": principal_uid, "attrs": {"tenant": principal.tenant}, "parents": parents},
            {"uid": resource_uid, "attrs": attributes, "parents": []},
        ]
        request = {
            "principal": principal_uid, "action": {"type": "Action", "id": action}, "resource": resource_uid,
            "context": dict(context),
        }  # fmt: skip
        return cedarpy.is_authorized(request, self._cedar_policies, json.dumps(entities), self._cedar_schema)

    def policy_ids(self, result: cedarpy.AuthzResult) -> list[str]:
        """List the policies that decided: by @id, else by file and line."""
        names = result.diagnostics.id_annotations_by_reason
        return [
            str(names.get(reason) or self.statements[int(reason.removeprefix("policy"))].location)
            for reason in result.diagnostics.reasons
        ]


def load_policies(folder: Path | None) -> PolicySet:
    """Read and parse the policies of a folder (*.cedar). Without a folder or files nothing is permitted.

    Raises ProjectError for a policy that cannot be read or parsed, that does not follow the schema, or that lies where
    it would not be read.
    """
    paths = sorted(folder.glob("*.cedar")) if folder is not None else []
    if folder is not None and (unloaded := list_unloaded_files(folder, "*.cedar", suffixes={".cedar"})):
        raise ProjectError(
            "\n".join(f"{path}: this policy is not read" for path in unloaded),
            fix=f"name it {folder}/NAME.cedar, or move it out of the folder",
        )
    try:
        return PolicySet({path.name: read_plain_file(path, follows_link=True).decode("utf-8") for path in paths})
    except UnicodeDecodeError:
        raise ProjectError(f"a policy in {folder} is not UTF-8", fix="save it as UTF-8") from None
    except CorruptedError as exc:
        raise ProjectError(f"a policy in {folder} cannot be read: {exc.what}", fix="put a file there") from None
    except OSError as exc:
        raise ProjectError(
            f"a policy in {folder} cannot be read: {exc.strerror}", fix="give the services read permission"
        ) from None


def encode_policies(files: Mapping[str, str]) -> bytes:
    """Encode the files of a set (name -> text) as canonical JSON."""
    return canonical.dumps_canonical(files)


def decode_policies(content: bytes) -> PolicySet:
    """Parse what `encode_policies` returned. Raises CorruptedError, and ProjectError for an invalid policy."""
    try:
        files = canonical.loads_canonical(content)
    except MalformedError:
        files = None
    if not isinstance(files, dict):
        raise CorruptedError("a released set of policies is not a list of files", fix="restore its file from a copy")
    return PolicySet({name: str(text) for name, text in files.items()})


def hash_policies(files: Mapping[str, str]) -> Digest:
    """Return the digest of a set: the SHA-256 of its encoded files, by which a release of the set names it."""
    return hashlib.sha256(encode_policies(files)).hexdigest()


def evaluate_request(
    policies: PolicySet, principal: Principal, action: str, resource: PolicyResource, context: Mapping[str, JsonValue]
) -> Verdict:
    """Evaluate a request: pass only if a policy permits it, none forbids it, and every policy could be evaluated.

    The verdict's subject and reasons never contain a malformed name, which may be personal data.
    """
    result = policies.evaluate(principal, action, resource, context)
    subject = resource.name if _entity_uid(resource.name) else "unknown"

    def make_verdict(outcome: VerdictOutcome, code: str, message: str) -> Verdict:
        return Verdict(subject=subject, outcome=outcome, reasons=(Reason(code=code, message=message),))

    if principal.tenant != resource.tenant:
        return make_verdict("fail", "other_tenant", "the principal and the resource belong to different tenants")
    if result is None:
        return make_verdict("fail", "unknown", "the schema has no such principal or resource")
    if result.decision.value == "NoDecision":
        return make_verdict("fail", "unknown", "the schema has no such action on this resource")
    if result.diagnostics.errors:
        # Cedar skips a policy that it cannot evaluate, which may be a forbid policy.
        return make_verdict("fail", "policy_error", "a policy could not be evaluated, so nothing is permitted")
    deciding = ", ".join(policies.policy_ids(result))
    if result.allowed:
        return make_verdict("pass", "permitted", f"permitted by: {deciding}")
    if deciding:
        return make_verdict("fail", "forbidden", f"forbidden by: {deciding}")
    return make_verdict("fail", "no_policy", "no policy permits it")


def split_policies(text: str, file: str) -> list[PolicyStatement]:
    """Split a file into its policies: each ends at a semicolon outside strings and comments."""
    policies: list[PolicyStatement] = []
    start: int | None = None
    for token in _TOKEN_PATTERN.finditer(text):
        if token[0].startswith("//"):
            continue
        start = token.start() if start is None else start
        if token[0] == ";":
            policies.append(PolicyStatement(text[start : token.end()], file, text.count("\n", 0, start) + 1))
            start = None
    if start is not None:
        policies.append(PolicyStatement(text[start:], file, text.count("\n", 0, start) + 1))
    return policies


def _parse_error(text: str) -> str:
    """Return why a policy does not parse; an empty string if it does."""
    import cedarpy

    try:
        parsed = cedarpy.PolicySet.from_str(text)
    except ValueError as exc:
        return str(exc)
    return "a template is not a policy: name the principal and the resource" if parsed.templates() else ""


def _entity_uid(name: str) -> dict[str, str] | None:
    """Parse `kind:name` as an entity; None for an unknown kind or a malformed name."""
    kind, _, rest = name.partition(":")
    entity_type = _ENTITY_TYPES.get(kind)
    if entity_type is None or not re.fullmatch(entity_type[1], rest):
        return None
    return {"type": entity_type[0], "id": rest}
