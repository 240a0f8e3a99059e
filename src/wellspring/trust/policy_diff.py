"""Compare two sets of policies: what is added and removed, and whether the change can only take permissions away."""

from __future__ import annotations

import re
from typing import NamedTuple

from wellspring.trust.policy import PolicySet, PolicyStatement

_COMMENT_OR_STRING = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"')
_IDENTIFIER = re.compile(r'@id\(\s*"((?:\\.|[^"\\])*)"\s*\)')
_EFFECT = re.compile(r"(?:@\w+\s*(?:\([^)]*\))?\s*)*(permit|forbid)\b")


class PolicyDiff(NamedTuple):
    """How one set of policies differs from another. added, removed: policies in words, by effect and @id or place.

    changed: pairs of both under the same @id. only_narrows: only permits were removed and forbids added, so no request
    is permitted that was not before.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    only_narrows: bool

    def describe(self) -> tuple[str, ...]:
        """Say what changes, one line for each policy."""
        lines = [
            *(f"added: {name}" for name in self.added),
            *(f"removed: {name}" for name in self.removed),
            *(f"changed: {name}" for name in self.changed),
        ]
        return tuple(lines) or ("no policy differs",)


def compare_policies(before: PolicySet, after: PolicySet) -> PolicyDiff:
    """Compare two sets by the text of their policies without comments; the order of policies means nothing."""
    former = {normalize_policy(statement) for statement in before.statements}
    later = {normalize_policy(statement) for statement in after.statements}
    added = [statement for statement in after.statements if normalize_policy(statement) not in former]
    removed = [statement for statement in before.statements if normalize_policy(statement) not in later]
    changed = sorted({_name(item) for item in added} & {_name(item) for item in removed})
    only_narrows = all(find_effect(item) == "forbid" for item in added) and all(
        find_effect(item) == "permit" for item in removed
    )
    return PolicyDiff(
        tuple(_name(item) for item in added if _name(item) not in changed),
        tuple(_name(item) for item in removed if _name(item) not in changed),
        tuple(changed),
        only_narrows,
    )


def normalize_policy(statement: PolicyStatement) -> str:
    """Return the text of a policy without comments and with single spaces; texts in quotes stay as they are."""
    parts, end = list[str](), 0
    for match in _COMMENT_OR_STRING.finditer(statement.text):
        parts.append(re.sub(r"\s+", " ", statement.text[end : match.start()]))
        parts.append(match[0] if match[0].startswith('"') else " ")
        end = match.end()
    parts.append(re.sub(r"\s+", " ", statement.text[end:]))
    return "".join(parts).strip()


def find_effect(statement: PolicyStatement) -> str:
    """Return `permit` or `forbid`."""
    match = _EFFECT.match(normalize_policy(statement))
    return match[1] if match else "permit"


def _name(statement: PolicyStatement) -> str:
    identifier = _IDENTIFIER.search(normalize_policy(statement))
    return (
        f"{find_effect(statement)} {identifier[1]!r}"
        if identifier
        else f"{find_effect(statement)} {statement.location}"
    )
