"""Changes of contracts: each contract is released for itself, and the enclave decides what is in force.

The enclave reviews a version, checks the users' signatures, and accepts it; then the landed table gains its columns.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from wellspring.data.contracts import contract as contracts
from wellspring.data.contracts.accepted_versions import list_accepted_versions
from wellspring.errors import NotFound, Refused, suggest_name
from wellspring.records.changes import ChangeDraft, ChangeKindName, ChangeRelease
from wellspring.workflows.prove import contract_archive_dir

if TYPE_CHECKING:
    from pathlib import Path

    from wellspring.bootstrap import Platform
    from wellspring.project import Project
    from wellspring.records.contracts import ContractReview
    from wellspring.records.record import Digest
    from wellspring.workflows.changes.port import ContentChange


class ContractChange:
    """The contracts of a project, each by its name. The pointer to a release names what the enclave has accepted."""

    kind: ChangeKindName = "contract"
    resources: tuple[str, ...] = ("landed",)

    def list_names(self, project: Project) -> tuple[str, ...]:
        """The names in the contract files. Raises ProjectError."""
        return tuple(_list_files(project))

    def store_content(self, platform: Platform, name: str, /) -> Digest:
        """Keep the contract file on disk."""
        files = _list_files(platform.project)
        if name not in files:
            raise NotFound(f"no contract {name!r} in contracts/", fix=suggest_name(name, files))
        return platform.changes.objects.put(files[name].read_bytes())

    def describe_change(self, platform: Platform, change: ContentChange, /) -> ChangeDraft:
        """Describe each change of a column and of the terms, with its effect, and each exception."""
        accepted = list_accepted_versions(platform.ledger.index).get(change.name)
        if accepted is not None and accepted.digest == change.content:
            raise Refused(
                f"{change.name} {accepted.version} on disk is in force", fix="edit it and raise its version first"
            )
        review = platform.vault.review_contract(change.content)
        return ChangeDraft(
            content=change.content,
            summary=_summarize(review),
            needs_second_person=review.needs_second_person,
            version=review.version,
            details={"effect": review.effect, "review": review.model_dump(mode="json")},
        )

    def check_change(self, platform: Platform, change: ChangeRelease, /) -> None:
        """Let the enclave review the version again, against what is in force now."""
        accepted = list_accepted_versions(platform.ledger.index).get(change.name)
        if accepted is None or accepted.digest != change.content:
            platform.vault.review_contract(change.content)

    def apply_change(self, platform: Platform, change: ChangeRelease, /) -> None:
        """Put the version into force, and give the landed table its columns."""
        content = platform.changes.objects.get(change.content)
        contracts.archive_contract(content, contract_archive_dir(platform.project))
        platform.vault.accept_contract(change.id)
        platform.step.crash_point("workflows.contract:accepted")
        contract = contracts.decode_contract(content, tenant=platform.project.tenant, known_since=platform.clock.now())
        # A table of which nothing is published may hold waiting rows of other types: they are judged again, and the
        # table takes the new types before that.
        with suppress(Refused):
            platform.lake.adapt_table(contract.name, contracts.egress_schema(contract))
        platform.step.crash_point("workflows.contract:evolved")


def _list_files(project: Project) -> dict[str, Path]:
    return contracts.list_contract_files(project.contracts_dir, tenant=project.tenant)


def _summarize(review: ContractReview) -> tuple[str, ...]:
    first = f"{review.name} {review.version} is its first version"
    if review.replaced_version:
        first = f"{review.name} {review.replaced_version} becomes {review.version}: {review.effect}"
    described = "\n".join(review.changes)
    exceptions = (
        f"exception, {reason.code}: {reason.message}" for reason in review.exceptions if reason.message not in described
    )
    return (first, *review.changes, *exceptions)
