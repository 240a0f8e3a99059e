"""What the `release` commands do for changes of policies, dbt code and contracts: propose, approve, show."""

from __future__ import annotations

from typing import Any

from wellspring.cli.context import CliContext
from wellspring.cli.users import require_terminal, sign_as_user
from wellspring.cli.worker_client import run_worker
from wellspring.errors import NotFound
from wellspring.project import Project

KIND_NAMES = ("policy", "transform", "contract")


def find_proposed_change(project: Project, name: str) -> dict[str, Any] | None:
    """Return the proposed change with an id; None if no change has it."""
    from wellspring.trust.changes.store import ChangeStore

    if name not in ChangeStore(project.changes_dir).list_ids():
        return None
    summaries = run_worker(project, "releases", offline=True)["changes"]
    summary = next((summary for summary in summaries if summary["release"]["id"] == name), None)
    if summary is None:
        raise NotFound(f"release {name} was drafted and not proposed", fix="see `wellspring release list`")
    return summary


def is_unreleased_code(project: Project, transform: str) -> bool:
    """Return whether a model was trained on other dbt code than the released one (`train --draft`)."""
    from wellspring.records.changes import PROJECT_WIDE
    from wellspring.trust.changes.store import ChangeStore

    live = ChangeStore(project.changes_dir).get_live("transform", PROJECT_WIDE)
    return live is not None and live.content != transform


def propose_change(ctx: CliContext, project: Project, kind: str, name: str) -> int:
    """Draft a change of a kind from what is on disk, show it, and propose it as the user who logs in."""
    require_terminal()
    drafted = run_worker(project, "draft-change", f"{kind}:{name}")
    release = drafted["release"]
    print_change(ctx, release)
    for open_id in drafted["open_releases"]:
        ctx.echo(f"release {open_id} of {kind}:{release['name']} is proposed too: approving one closes the other")
    proposed = _run_as_user(project, "propose-change", "proposal", release)
    if proposed["state"] == "live":
        ctx.echo(f"release {release['id']} of {kind}:{release['name']} is live: it needs no second person")
        ctx.print_result(proposed, next_command=f"wellspring release show {release['id']}")
        return 0
    ctx.echo(f"release {release['id']} of {kind}:{release['name']} needs the approval of a second user")
    ctx.print_result(proposed, next_command=f"wellspring release approve {release['id']}")
    return 0


def approve_change(ctx: CliContext, project: Project, proposed: dict[str, Any]) -> int:
    """Approve a proposed change as the user who logs in, and make it live."""
    require_terminal()
    release = proposed["release"]
    print_change(ctx, release)
    approved = _run_as_user(project, "approve-change", "release", release)
    ctx.echo(f"release {release['id']} of {release['kind']}:{release['name']} is live, by {approved['approved_by']}")
    ctx.print_result(approved, next_command=f"wellspring release show {release['id']}")
    return 0


def show_change(ctx: CliContext, proposed: dict[str, Any]) -> int:
    """Print a proposed change: what it changes, who signed it, and whether it is live."""
    release = proposed["release"]
    print_change(ctx, release)
    ctx.echo(
        f"{proposed['state']}; proposed by {proposed['proposed_by'] or 'nobody'}, "
        f"approved by {proposed['approved_by'] or 'nobody'}"
    )
    is_open = proposed["state"] == "open"
    command = f"wellspring release approve {release['id']}" if is_open else "wellspring release list"
    ctx.print_result(proposed, next_command=command)
    return 0


def print_changes(ctx: CliContext, changes: list[dict[str, Any]]) -> None:
    """Print the proposed changes as a table."""
    if changes:
        rows = [
            (
                f"{change['release']['kind']}:{change['release']['name']}",
                change["release"]["id"],
                change["proposed_by"],
                change["approved_by"],
                change["state"],
            )
            for change in changes
        ]
        ctx.echo_table(("change", "release", "proposed by", "approved by", "state"), rows)


def print_change(ctx: CliContext, release: dict[str, Any]) -> None:
    """Print what a user is about to sign: the change in words, and how many persons it needs."""
    ctx.echo(f"release {release['id']} of {release['kind']}:{release['name']}, content {release['content'][:12]}")
    for line in release["summary"]:
        ctx.echo(f"  {line}")
    if not release["needs_second_person"]:
        ctx.echo("  one person may make this change")


def _run_as_user(project: Project, job: str, note_kind: Any, release: dict[str, Any]) -> dict[str, Any]:
    """Let a user sign an act on a change, and run its job with the signed note."""
    note = sign_as_user(project, note_kind, f"{release['kind']}:{release['name']}", release["id"], release["digest"])
    return run_worker(project, job, release["id"], params={"note": note.model_dump(mode="json")})
