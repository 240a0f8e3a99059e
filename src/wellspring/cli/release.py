"""The `release` commands (propose, approve, rollback, list) and `history`: what is live and who approved it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from wellspring.cli import change
from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.deployment import (
    DEFAULT_SHARE,
    approve_challenger,
    deploy,
    promote,
    refresh_cold_release,
    undeploy,
    validate_share,
)
from wellspring.cli.feature_diff import print_feature_diff
from wellspring.cli.render import progress_bar, suggest_model
from wellspring.cli.users import require_terminal, sign_as_user
from wellspring.cli.worker_client import run_worker
from wellspring.errors import NotFound, Unavailable, suggest_name
from wellspring.project import Project
from wellspring.records.record import format_instant
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.simulated_clock import open_clock

if TYPE_CHECKING:
    from wellspring.records.user_notes import NoteKind


@click.group(cls=LazyGroup)
def release() -> None:
    """Propose, approve, roll back and list releases; the user who approves must not be the one who proposed."""


release.add_command(deploy)
release.add_command(undeploy)
release.add_command(promote)


@release.command()
@click.argument("candidate", default="", metavar="[CANDIDATE|NAME]")
@click.option("--kind", type=click.Choice(change.KIND_NAMES), help="Propose a change of this kind, from disk.")
@click.pass_obj
def propose(ctx: CliContext, candidate: str, kind: str | None) -> int:
    """Propose CANDIDATE for release, or with --kind what is on disk. You log in; a second user must approve it.

    In development you may approve it yourself.
    """
    from wellspring.models.releases.candidates import list_candidates
    from wellspring.models.releases.store import ReleaseStore

    project = ctx.load_project()
    if kind is not None:
        return change.propose_change(ctx, project, kind, candidate)
    require_terminal()
    _require_servers(project)
    _check_subject("candidate", candidate, list_candidates(ReleaseStore(project.models_dir).paths))
    draft = run_worker(project, "draft-release", candidate)
    ctx.echo(_describe_release(draft))
    print_feature_diff(ctx, run_worker(project, "feature-diff", candidate))
    proposed = _run_as_user(project, "propose", candidate, "proposal", draft["model"], draft["id"], draft["digest"])
    is_development = project.project.mode == "development"
    approver = "a user: in development, your own is enough" if is_development else "a second user"
    ctx.echo(f"release {proposed['release']['id']} of {proposed['release']['model']} needs the approval of {approver}")
    ctx.print_result(proposed, next_command=f"wellspring release approve {proposed['release']['id']}")
    return 0


@release.command()
@click.argument("name")
@click.option("--challenger", is_flag=True, help="Do not make it live: let it answer a share of the requests.")
@click.option("--share", callback=validate_share, help="Share of the challenger: 0.1 or 10% (default 0.1).")
@click.pass_obj
def approve(ctx: CliContext, name: str, challenger: bool, share: str | None) -> int:
    """Approve the release NAME that another user proposed. You log in and sign it, and it becomes live.

    In development you may have proposed it yourself.
    """
    if share is not None and not challenger:
        raise click.UsageError("--share is the share of a challenger: add --challenger")
    from wellspring.models.releases.store import ReleaseStore

    project = ctx.load_project()
    if (proposed_change := change.find_proposed_change(project, name)) is not None:
        return change.approve_change(ctx, project, proposed_change)
    require_terminal()
    _require_servers(project)
    store = ReleaseStore(project.models_dir)
    _check_subject("release", name, store.list_ids())
    proposed = store.get(name)
    ctx.echo(_describe_release(proposed.model_dump(mode="json")))
    print_feature_diff(ctx, run_worker(project, "feature-diff", name))
    if change.is_unreleased_code(project, proposed.transform):
        ctx.echo("its dbt code is not the released one, which other models keep; its features are made fresh first")
        with progress_bar(enabled=not ctx.as_json) as draw:
            run_worker(project, "refresh", name, on_progress=draw)
    if challenger:
        return approve_challenger(ctx, project, proposed, share or DEFAULT_SHARE)
    approved = _run_as_user(project, "approve", name, "release", proposed.model, proposed.id, proposed.digest)
    ctx.echo(
        f"{approved['release']['model']} serves release {approved['release']['id']}, approved by {approved['user']}"
    )
    ctx.print_result(approved, next_command=f"wellspring predict {approved['release']['model']} --newest")
    return 0


@release.command()
@click.argument("name")
@click.pass_obj
def show(ctx: CliContext, name: str) -> int:
    """Show the proposed change NAME: what it changes in words, who signed it, and whether it is live."""
    proposed_change = change.find_proposed_change(ctx.load_project(), name)
    if proposed_change is None:
        raise NotFound(f"no change {name!a} is proposed", fix="see `wellspring release list`")
    return change.show_change(ctx, proposed_change)


@release.command()
@click.argument("name")
@click.pass_obj
def diff(ctx: CliContext, name: str) -> int:
    """Compare the features of NAME, a candidate or a release, with those of the live release on the newest data."""
    compared = run_worker(ctx.load_project(), "feature-diff", name)
    print_feature_diff(ctx, compared)
    kind, _, subject_id = compared["subject"].partition(":")
    command = "propose" if kind == "candidate" else "approve"
    ctx.print_result(compared, next_command=f"wellspring release {command} {subject_id}")
    return 0


@release.command()
@click.argument("model")
@click.option("--to", "target", metavar="RELEASE", help="Restore this earlier release instead of the previous one.")
@click.pass_obj
def rollback(ctx: CliContext, model: str, target: str | None) -> int:
    """Make the previous release of MODEL live again, with all its parts. One user is enough.

    With --to, any release that was live before. If its features are not kept fresh, a job builds them first.
    """
    from wellspring.models.releases.store import ReleaseStore
    from wellspring_verify.approvals import rollback_line

    project = ctx.load_project()
    require_terminal()
    _require_servers(project)
    store = ReleaseStore(project.models_dir)
    if target is not None:
        _check_subject("release", target, store.list_ids())
        refresh_cold_release(ctx, project, target)
    live_id = store.live_id(model) or "none"
    signed_at = format_instant(open_clock(project).now())
    line = rollback_line(live_id, target or "")
    rolled_back = _run_as_user(project, "rollback", model, "rollback", model, line, signed_at)
    ctx.echo(f"{rolled_back['user']} rolled {model} back to release {rolled_back['release']['id']}")
    ctx.print_result(rolled_back, next_command=f"wellspring history {model}")
    return 0


@release.command("list")
@click.pass_obj
def list_releases(ctx: CliContext) -> int:
    """List every candidate and release: gate outcome, proposer, approver, and whether it is live."""
    project = ctx.load_project()
    overview = run_worker(project, "releases", offline=True)
    candidates, releases = overview["candidates"], overview["releases"]
    if candidates:
        columns = ("model", "id", "outcome", "task", "metric", "value", "edition")
        rows = [tuple(candidate[column] for column in columns) for candidate in candidates]
        ctx.echo_table(("model", "candidate", "gate", "task", "metric", "value", "edition"), rows)
    if releases:
        columns = ("model", "id", "candidate", "proposed_by", "approved_by", "mode", "live", "challenger_share", "warm")
        rows = [tuple(release[column] for column in columns) for release in releases]
        header = ("model", "release", "candidate", "proposed by", "approved by", "mode", "live", "challenger", "warm")
        ctx.echo_table(header, rows)
    change.print_changes(ctx, overview["changes"])
    if not candidates:
        ctx.echo("no model has been trained here")
    ctx.print_result(overview, next_command=_next_release_command(project, candidates, releases))
    return 0


def _next_release_command(project: Project, candidates: list[dict[str, Any]], releases: list[dict[str, Any]]) -> str:
    # A candidate that was evaluated against a release that is not live now cannot be released.
    pending = [release for release in releases if not release["approved_by"] and release["evaluated_against_live"]]
    if pending:
        return f"wellspring release approve {pending[0]['id']}"
    # It was approved in development: it is proposed and approved again, while it is live.
    void = next((release for release in releases if release["live"] and not release["approved_by"]), None)
    if void is not None:
        command = f"approve {void['id']}" if void["proposed_by"] else f"propose {void['candidate']}"
        return f"wellspring release {command}"
    proposed_ids = {release["candidate"] for release in releases}
    promotable = [
        candidate["id"]
        for candidate in candidates
        if candidate["outcome"] == "pass"
        and candidate["evaluated_against_live"]
        and candidate["id"] not in proposed_ids
    ]
    if promotable:
        return f"wellspring release propose {promotable[-1]}"
    return f"wellspring train {suggest_model(project)}"


def _validate_instant(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        parsed = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if text is not None and (parsed is None or parsed.utcoffset() is None):
        raise click.BadParameter(f"{text!r} is not an instant: write it as 2026-11-25T14:00:00Z")
    return text


@click.command()
@click.argument("model")
@click.option(
    "--at",
    "instant",
    callback=_validate_instant,
    help="An instant (2026-11-25T14:00:00Z). Default: the complete history.",
)
@click.pass_obj
def history(ctx: CliContext, model: str, instant: str | None) -> int:
    """Show which release of MODEL was live, since when, and who proposed and approved it."""
    periods: list[dict[str, Any]] = run_worker(
        ctx.load_project(), "history", model, params={"instant": instant}, offline=True
    )
    rows = [
        (
            period["since"],
            period["action"],
            period["release"],
            period["proposed_by"],
            period["approved_by"],
            period["changed_by"],
        )
        for period in periods
    ]
    if rows:
        ctx.echo_table(("since", "action", "release", "proposed by", "approved by", "changed by"), rows)
    else:
        ctx.echo(f"no release of {model} was live" + (f" at {instant}" if instant else ""))
    ctx.print_result(
        periods, next_command=f"wellspring prove model:{model}@{periods[0]['release']} --out PACK" if periods else None
    )
    return 0


def _check_subject(kind: str, subject: str, names: Iterable[str]) -> None:
    """Check before the login that the subject of an act exists. Raises NotFound with the nearest name."""
    known_names = list(names)
    if subject not in known_names:
        suggestion = suggest_name(subject, known_names)
        raise NotFound(f"no {kind} {subject!r}", fix=f"{suggestion}; see `wellspring release list`")


def _require_servers(project: Project) -> None:
    if read_run_state(project) is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")


def _describe_release(release: dict[str, Any]) -> str:
    """Describe what a user is about to sign: the release, its candidate, edition and decision rule."""
    rule = ", ".join(f"{name} {value}" for name, value in release["decision_rule"].items())
    return (
        f"release {release['id']} of {release['model']}: candidate {release['candidate']}, "
        f"edition {release['edition']}, decision rule: {rule}"
    )


def _run_as_user(project: Project, job: str, subject: str, kind: NoteKind, *lines: str) -> Any:
    """Let a user sign an act, and run its job with the signed note."""
    note = sign_as_user(project, kind, *lines)
    return run_worker(project, job, subject, params={"note": note.model_dump(mode="json")})
