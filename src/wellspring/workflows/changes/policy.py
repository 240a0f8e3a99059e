"""Changes of the policies: the set in force is replaced whole, by a set that was parsed before."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from wellspring.errors import ProjectError, Refused
from wellspring.project import PROJECT_FILE
from wellspring.records.changes import PROJECT_WIDE, ChangeDraft, ChangeKindName, ChangeRelease
from wellspring.trust import policy
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource
from wellspring.trust.policy_decisions import compare_decisions, list_requests
from wellspring.trust.policy_diff import compare_policies

if TYPE_CHECKING:
    from wellspring.bootstrap import Platform
    from wellspring.project import Project
    from wellspring.records.record import Digest
    from wellspring.records.trust import Entry
    from wellspring.workflows.changes.port import ContentChange


COMPARED_DAYS, COMPARED_ENTRIES = 7, 20_000
"""Requests of the last days are asked again, of at most so many of the newest entries."""


class PolicyChange:
    """The policies of a project: one set."""

    kind: ChangeKindName = "policy"
    resources: tuple[str, ...] = ()

    def list_names(self, project: Project) -> tuple[str, ...]:
        """Return one name if wellspring.toml has a folder for policies."""
        return (PROJECT_WIDE,) if "policies" in project.source_paths else ()

    def store_content(self, platform: Platform, _name: str, /) -> Digest:
        """Parse the policies on disk, and keep their files."""
        folder = platform.project.source_paths.get("policies")
        if folder is None or not any(folder.glob("*.cedar")):
            raise ProjectError(
                f"{platform.project.root / PROJECT_FILE} names no folder with policies", fix="write NAME.cedar there"
            )
        return platform.changes.objects.put(policy.encode_policies(policy.load_policies(folder).files))

    def describe_change(self, platform: Platform, change: ContentChange, /) -> ChangeDraft:
        """List the policies that are added, removed and changed."""
        before = policy.PolicySet({}) if change.live is None else self._load(platform, change.live)
        after = self._load(platform, change.content)
        diff = compare_policies(before, after)
        users = {name: tuple(user.roles) for name, user in platform.project.users.items()}
        requests = list_requests(_read_recent_entries(platform), platform.project.name)
        decisions = compare_decisions(before, after, requests, users)
        return ChangeDraft(
            content=change.content,
            summary=(*diff.describe(), *(decision.describe() for decision in decisions)),
            needs_second_person=not diff.only_narrows,
            details={
                "added": list(diff.added),
                "removed": list(diff.removed),
                "only_narrows": diff.only_narrows,
                "compared_requests": len(requests),
                "decisions": [decision._asdict() for decision in decisions],
            },
        )

    def check_change(self, platform: Platform, change: ChangeRelease, /) -> None:
        """Check that the kept files parse against today's schema, and that users may change the policies under them."""
        policies = self._load(platform, change.content)
        resource = PolicyResource(change.subject, kind="policy")
        users = [Principal(f"user:{name}", tuple(user.roles)) for name, user in platform.project.users.items()]
        for action in ("propose", "approve"):
            if not any(policy.evaluate_request(policies, user, action, resource, {}).passed for user in users):
                raise Refused.because(
                    change.subject,
                    "locked_out",
                    f"under these policies no user of {PROJECT_FILE} may {action} a change of the policies",
                    fix="permit it to a user's role: a set that nobody can replace would stay for ever",
                )

    def apply_change(self, _platform: Platform, _change: ChangeRelease, /) -> None:
        """Do nothing: every process reads the set that the pointer names."""

    def _load(self, platform: Platform, content: Digest) -> policy.PolicySet:
        return policy.decode_policies(platform.changes.objects.get(content))


def _read_recent_entries(platform: Platform) -> list[Entry]:
    index = platform.ledger.index
    since = platform.clock.now() - timedelta(days=COMPARED_DAYS)
    newest = index.list_entries(after=max(0, index.count_entries() - COMPARED_ENTRIES))
    return [indexed.entry for indexed in newest if indexed.entry.known_since >= since]
