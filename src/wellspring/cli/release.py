"""release propose | approve | rollback | list, and history: what is live, who asked for it and who said yes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import render_table, suggest_model
from wellspring.cli.users import log_in, require_terminal
from wellspring.cli.worker_client import run_worker
from wellspring.errors import NotFound, Unavailable
from wellspring.project import Project, suggest_name


@click.group(cls=LazyGroup)
def release() -> None:
    """What is served: proposed by one person, approved by another, and brought back by either."""


@release.command()
@click.argument("candidate")
@click.pass_obj
def propose(ctx: CliContext, candidate: str) -> int:
    """Ask for CANDIDATE to be released; you log in, and somebody else must approve it."""
    project = ctx.load_project()
    proposed = _run_as_user(project, "propose", candidate)
    ctx.echo(f"release {proposed['release']['id']} of {proposed['release']['model']} waits for a second person")
    ctx.print_result(proposed, next_command=f"wellspring release approve {proposed['release']['id']}")
    return 0


@release.command()
@click.argument("name")
@click.pass_obj
def approve(ctx: CliContext, name: str) -> int:
    """Approve the release NAME that somebody else proposed: you log in and sign it, and it goes live."""
    project = ctx.load_project()
    approved = _run_as_user(project, "approve", name)
    # Approved just now, or before: then whoever is here saw to it, or it was live already.
    ctx.echo(
        f"{approved['release']['model']} serves release {approved['release']['id']}, approved by {approved['user']}"
    )
    ctx.print_result(approved, next_command=f"wellspring predict {approved['release']['model']} --newest")
    return 0


@release.command()
@click.argument("model")
@click.pass_obj
def rollback(ctx: CliContext, model: str) -> int:
    """Serve again what MODEL served before, whole: no second person is needed to go back."""
    project = ctx.load_project()
    rolled_back = _run_as_user(project, "rollback", model)
    ctx.echo(f"{rolled_back['user']} took {model} back to release {rolled_back['release']['id']}")
    ctx.print_result(rolled_back, next_command=f"wellspring history {model}")
    return 0


@release.command("list")
@click.pass_obj
def list_releases(ctx: CliContext) -> int:
    """List every candidate and release: what its gate said, who proposed it, who approved it, what is live."""
    project = ctx.load_project()
    overview = run_worker(project, "releases", offline=True)
    candidates = [
        (item["model"], item["id"], item["outcome"], item["auc"], item["edition"]) for item in overview["candidates"]
    ]
    releases = [
        (item["model"], item["id"], item["candidate"], item["proposed_by"], item["approved_by"], item["live"])
        for item in overview["releases"]
    ]
    if candidates:
        ctx.echo(render_table(("model", "candidate", "gate", "auc", "edition"), candidates))
    if releases:
        ctx.echo(render_table(("model", "release", "candidate", "proposed by", "approved by", "live"), releases))
    if not candidates:
        ctx.echo("no model has been trained here")
    # What was judged beside another release than what is live now can no longer go live.
    waiting = next(
        (item for item in overview["releases"] if not item["approved_by"] and item["evaluated_against_live"]), None
    )
    proposed_candidates = {item["candidate"] for item in overview["releases"]}
    promotable = [
        item for item in overview["candidates"] if item["outcome"] == "pass" and item["evaluated_against_live"]
    ]
    passed = next((item for item in reversed(promotable) if item["id"] not in proposed_candidates), None)
    if waiting is not None:
        command = f"wellspring release approve {waiting['id']}"
    elif passed is not None:
        command = f"wellspring release propose {passed['id']}"
    else:
        command = f"wellspring train {suggest_model(project)}"
    ctx.print_result(overview, next_command=command)
    return 0


def _validate_instant(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    try:
        parsed = None if text is None else datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if text is not None and (parsed is None or parsed.utcoffset() is None):
        raise click.BadParameter(f"{text!r} is no instant: write it as 2026-11-25T14:00:00Z")
    return text


@click.command()
@click.argument("model")
@click.option("--at", callback=_validate_instant, help="An instant (2026-11-25T14:00:00Z); else the whole history.")
@click.pass_obj
def history(ctx: CliContext, model: str, instant: str | None) -> int:
    """Say which release of MODEL was live, since when, who proposed and who approved it."""
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
    ctx.echo(
        render_table(("since", "action", "release", "proposed by", "approved by", "by"), rows)
        if rows
        else f"no release of {model} was live" + (f" at {instant}" if instant else "")
    )
    ctx.print_result(
        periods, next_command=f"wellspring prove model:{model}@{periods[0]['release']} --out PACK" if periods else None
    )
    return 0


def _require_known_subject(project: Project, job: str, subject: str) -> None:
    """Say before anybody logs in what no login could help: nothing runs, or nothing is called so."""
    from wellspring.models.releases.promotion import ReleaseStore
    from wellspring.models.spec.artifact import list_candidates

    if project.read_run_state() is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    release_store = ReleaseStore(project.models_dir)
    known_names = {"propose": list_candidates(release_store.paths), "approve": release_store.list_ids()}.get(job)
    if known_names is not None and subject not in known_names:
        kind = "candidate" if job == "propose" else "release"
        raise NotFound(
            f"no {kind} {subject!r}", fix=f"{suggest_name(subject, list(known_names))}; see `wellspring release list`"
        )


def _run_as_user(project: Project, job: str, subject: str) -> Any:
    """Let somebody log in, and follow a run under that login, which ends with it, whether or not the run used it."""
    from wellspring.trust.identity import users

    require_terminal()
    _require_known_subject(project, job, subject)
    token = log_in(project)
    try:
        return run_worker(project, job, subject, params={"token": token})
    finally:
        users.revoke_token(project.socket_path("openbao"), token)
