"""Ask another set of policies what the ledger recorded lately: which decisions would be other ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wellspring.records.trust import Entry
from wellspring.trust.identity.port import Principal
from wellspring.trust.policy import PolicyResource, PolicySet, evaluate_request


class RecordedRequest(NamedTuple):
    """One request that was decided. Entries do not record its context: what depends on it is denied by both sets."""

    principal: str
    action: str
    resource: PolicyResource


class DecisionChange(NamedTuple):
    """An action whose decisions differ. permitted: requests that only the later set permits; denied: that only the
    former one did; example: one of them in words."""

    action: str
    permitted: int
    denied: int
    example: str

    def describe(self) -> str:
        """Say how the decisions of an action differ."""
        return (
            f"requests of the last days, {self.action}: {self.permitted} would be permitted that were not, "
            f"{self.denied} denied that were permitted, for example {self.example}"
        )


def list_requests(entries: Iterable[Entry], project: str) -> list[RecordedRequest]:
    """List the different requests that entries record: refusals, predictions, acts on releases, trainings, transforms.

    project: its name, the resource of transforms.
    """
    requests: dict[RecordedRequest, None] = {}
    for entry in entries:
        model = entry.text("model")
        match entry.action:
            case "authorize":
                action, resource = entry.text("requested_action"), PolicyResource(entry.subject)
            case "predict" | "train":
                action, resource = entry.action, PolicyResource(f"model:{model}")
            case "transform":
                action, resource = entry.action, PolicyResource(f"project:{project}")
            case "propose":
                is_model = any(ref.name.startswith("candidate:") for ref in entry.inputs)
                kind = "model" if is_model else "".join(ref.name.partition(":")[0] for ref in entry.inputs[:1])
                action, resource = entry.action, PolicyResource(entry.subject, kind=kind)
            case _:
                continue
        if principal := entry.text("principal") or entry.text("user"):
            requests[RecordedRequest(principal, action, resource)] = None
    return list(requests)


def compare_decisions(
    before: PolicySet, after: PolicySet, requests: Iterable[RecordedRequest], roles: Mapping[str, tuple[str, ...]]
) -> list[DecisionChange]:
    """Compare the decisions of two sets about requests. roles: of users by name, as they are now."""
    changed: dict[str, list[tuple[bool, RecordedRequest]]] = {}
    for request in requests:
        principal = Principal(request.principal, roles.get(request.principal.removeprefix("user:"), ()))
        former, later = (
            evaluate_request(policies, principal, request.action, request.resource, {}).passed
            for policies in (before, after)
        )
        if former != later:
            changed.setdefault(request.action, []).append((later, request))
    return [
        DecisionChange(
            action,
            sum(is_permitted for is_permitted, _ in items),
            sum(not is_permitted for is_permitted, _ in items),
            f"{items[0][1].principal} and {items[0][1].resource.name}",
        )
        for action, items in sorted(changed.items())
    ]
