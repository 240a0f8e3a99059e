"""May they? Cedar policies -> Verdict: deny by default, pure, one parse for each version of the policies.

A decision takes about 25 us on one core with everything parsed; parsing is most of what a naive call costs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import JsonValue

from wellspring.errors import ProjectError
from wellspring.records.record import Digest
from wellspring.records.verdict import Outcome, Reason, Verdict
from wellspring.trust.identity.port import Principal

if TYPE_CHECKING:
    import cedarpy

SCHEMA = """\
// What may be asked at the doors of the house. A project's own policies are checked against this at each start.
entity Role;
entity User in [Role];
entity Service;
entity Model;
entity View;
entity Domain;
entity Release { model: String, proposers: Set<User> };

action predict appliesTo { principal: [User, Service], resource: [Model], context: { state?: String } };
action learn, prove appliesTo { principal: [User, Service], resource: [Model], context: {} };
action read_features appliesTo { principal: [User, Service], resource: [View], context: { state?: String } };
action propose, approve appliesTo { principal: [User], resource: [Release], context: {} };
action rollback appliesTo { principal: [User], resource: [Model], context: {} };
action tokenize appliesTo {
  principal: [User, Service], resource: [Domain], context: { purpose: String, conversation?: String }
};
"""
_TYPES = {
    "user": ("User", r"[a-z][a-z0-9_-]{0,30}"),
    "service": ("Service", r"[a-z][a-z0-9_-]{0,62}"),
    "model": ("Model", r"[a-z][a-z0-9_]{0,62}"),
    "view": ("View", r"[a-z][a-z0-9_]{0,62}"),
    "domain": ("Domain", r"[a-z][a-z0-9_]{0,62}"),
    "release": ("Release", r"[0-9a-f]{12}"),
}

_TOKEN = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"|;|[^\s;"/]+|["/]')


class Resource(NamedTuple):
    """What is asked for: model:NAME, view:NAME, domain:NAME or release:ID. model, proposers: of a release only."""

    name: str
    model: str = ""
    proposers: frozenset[str] = frozenset()


class Statement(NamedTuple):
    """One policy of a file, and the line where it begins."""

    text: str
    file: str
    line: int

    @property
    def where(self) -> str:
        return f"{self.file}:{self.line}"


class Policies:
    """The policies of one project, parsed and held against the house's schema.

    digest: of all their files. words: every text that stands in them in quotes, outside comments.
    """

    def __init__(self, files: Mapping[str, str]) -> None:
        """Parse once. files: name -> text. Raises ProjectError that lists every mistake with its file and line."""
        import cedarpy

        self.digest = digest(files)
        self._statements = [each for name in sorted(files) for each in statements(files[name], name)]
        problems = [f"{each.where}: {said}" for each in self._statements if (said := _unparsed(each.text))]
        text = "\n".join(each.text for each in self._statements)
        self.words = frozenset(each[0][1:-1] for each in _TOKEN.finditer(text) if each[0].startswith('"'))
        if not problems:
            for wrong in cedarpy.validate_policies(text, SCHEMA).errors:
                at = self._statements[int(wrong.policy_id.removeprefix("policy"))]
                problems.append(f"{at.where}: {wrong.error.partition(', ')[2] or wrong.error}")
        if problems:
            raise ProjectError("\n".join(dict.fromkeys(problems)), fix="mend the policy there")
        self._set = cedarpy.PolicySet.from_str(text)
        self._schema = cedarpy.Schema.from_str(SCHEMA)

    def ask(
        self, principal: Principal, action: str, resource: Resource, context: Mapping[str, JsonValue]
    ) -> cedarpy.AuthzResult | None:
        """Ask Cedar; None when the request names a principal or a resource that no policy can speak of."""
        import cedarpy

        who, what = _uid(principal.name), _uid(resource.name)
        if who is None or what is None:
            return None
        entities: list[dict[str, object]] = [
            {"uid": who, "attrs": {}, "parents": [{"type": "Role", "id": role} for role in principal.roles]}
        ]
        if what["type"] == "Release":
            proposers = [_uid(name) for name in sorted(resource.proposers)]
            if None in proposers:
                return None
            known = {"model": resource.model, "proposers": [{"__entity": each} for each in proposers]}
            entities.append({"uid": what, "attrs": known, "parents": []})
        request = {
            "principal": who, "action": {"type": "Action", "id": action}, "resource": what, "context": dict(context),
        }  # fmt: skip
        return cedarpy.is_authorized(request, self._set, json.dumps(entities), self._schema)

    def named(self, answer: cedarpy.AuthzResult) -> list[str]:
        """Name the policies that decided: by their @id, else by file and line."""
        names = answer.diagnostics.id_annotations_by_reason
        return [
            str(names.get(each) or self._statements[int(each.removeprefix("policy"))].where)
            for each in answer.diagnostics.reasons
        ]


def load(folder: Path | None) -> Policies:
    """Read and parse the policies of a folder (*.cedar). Without a folder or files nothing is permitted.

    Raises ProjectError for a policy that cannot be read or does not parse, or that the house's schema does not know.
    """
    found = sorted(folder.glob("*.cedar")) if folder is not None else []
    try:
        return Policies({path.name: path.read_text(encoding="utf-8") for path in found})
    except UnicodeDecodeError:
        raise ProjectError(f"a policy in {folder} is not UTF-8", fix="save it as UTF-8") from None
    except OSError as wrong:
        raise ProjectError(
            f"a policy in {folder} cannot be read: {wrong.strerror}", fix="let the services read it"
        ) from None


def digest(files: Mapping[str, str]) -> Digest:
    """Return the SHA-256 over the sorted SHA-256 digests of the files, in hex, a line each."""
    each = sorted(hashlib.sha256(text.encode()).hexdigest() for text in files.values())
    return hashlib.sha256("".join(f"{one}\n" for one in each).encode()).hexdigest()


def decide(
    policies: Policies, principal: Principal, action: str, resource: Resource, context: Mapping[str, JsonValue]
) -> Verdict:
    """Judge one request: pass only if a policy permits it, none forbids it, and every policy could be evaluated.

    The verdict's subject and reasons never repeat a name that does not look like one: it may be a person's.
    """
    answer = policies.ask(principal, action, resource, context)
    subject = resource.name if _uid(resource.name) else "unknown"

    def verdict(outcome: Outcome, code: str, what: str) -> Verdict:
        return Verdict(subject=subject, outcome=outcome, reasons=(Reason(code=code, what=what),))

    if answer is None:
        return verdict("fail", "unknown", "no policy speaks of such a principal or resource")
    if answer.decision.value == "NoDecision":
        return verdict("fail", "unknown", "the house knows no such action on such a resource")
    if answer.diagnostics.errors:
        # Cedar skips a policy that it cannot evaluate. That one might have been a forbid.
        return verdict("fail", "policy_error", "a policy could not be evaluated, so nothing is permitted")
    deciding = ", ".join(policies.named(answer))
    if answer.allowed:
        return verdict("pass", "permitted", f"permitted by: {deciding}")
    if deciding:
        return verdict("fail", "forbidden", f"forbidden by: {deciding}")
    return verdict("fail", "no_policy", "no policy permits it")


def statements(text: str, file: str) -> list[Statement]:
    """Cut a file into its policies: each ends at a semicolon outside strings and comments."""
    found: list[Statement] = []
    begun: int | None = None
    for token in _TOKEN.finditer(text):
        if token[0].startswith("//"):
            continue
        begun = token.start() if begun is None else begun
        if token[0] == ";":
            found.append(Statement(text[begun : token.end()], file, text.count("\n", 0, begun) + 1))
            begun = None
    if begun is not None:
        found.append(Statement(text[begun:], file, text.count("\n", 0, begun) + 1))
    return found


def _unparsed(text: str) -> str:
    """Say why one policy does not parse; '' if it does."""
    import cedarpy

    try:
        parsed = cedarpy.PolicySet.from_str(text)
    except ValueError as wrong:
        return str(wrong)
    return "a template is not a policy: name the principal and the resource" if parsed.templates() else ""


def _uid(name: str) -> dict[str, str] | None:
    """Read `kind:name` as an entity; None for a kind or a name that the house does not have."""
    kind, _, rest = name.partition(":")
    known = _TYPES.get(kind)
    if known is None or not re.fullmatch(known[1], rest):
        return None
    return {"type": known[0], "id": rest}
