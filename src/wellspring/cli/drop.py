"""The `drop` commands: list and show drops, withdraw one, or judge one again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.ingest import print_ingest_result
from wellspring.cli.render import progress_bar
from wellspring.cli.users import require_terminal, sign_as_user
from wellspring.cli.worker_client import run_worker
from wellspring.errors import NotFound, Refused
from wellspring.records.record import format_instant
from wellspring.runtime.simulated_clock import open_clock

if TYPE_CHECKING:
    from wellspring.cli.worker_client import ProgressCallback
    from wellspring.records.user_notes import NoteKind

_COLUMNS = ("id", "source", "name", "contract", "state")
_COUNTS = ("received", "published", "waiting", "quarantined", "rejected", "discarded", "withdrawn", "copies")
_NOTE_KINDS: dict[str, NoteKind] = {"withdraw": "withdrawal", "rejudge": "rejudgement", "discard": "discard"}


@click.group(cls=LazyGroup)
def drop() -> None:
    """List drops, withdraw a drop that was not published, and judge one again by the contract in force."""


@drop.command("list")
@click.argument("source", required=False)
@click.option("--all", "include_all", is_flag=True, help="List all drops, not only the newest 20.")
@click.pass_obj
def list_drops(ctx: CliContext, source: str | None, include_all: bool) -> int:
    """List the newest drops of SOURCE, or of all sources, with their state and rows."""
    project = ctx.load_project()
    if source is not None:
        project.require_source(source)
    drops: list[dict[str, Any]] = run_worker(project, "drops", source or "", params={"all": include_all})
    rows = [
        (*(item[name] for name in _COLUMNS), *(item["account"][name] for name in ("received", "published")))
        for item in drops
    ]
    if rows:
        ctx.echo_table((*_COLUMNS, "received", "published"), rows)
    else:
        ctx.echo("no drop has landed")
    stopped = next((item["id"] for item in reversed(drops) if item["state"] == "stopped"), None)
    shown = stopped or (drops[-1]["id"] if drops else None)
    ctx.print_result(drops, next_command=f"wellspring drop show {shown}" if shown else "wellspring ingest")
    return 0


@drop.command("show")
@click.argument("drop_id", metavar="DROP")
@click.pass_obj
def show_drop(ctx: CliContext, drop_id: str) -> int:
    """Show DROP: its state, its rows, why it was stopped, and what users decided about it."""
    item: dict[str, Any] = run_worker(ctx.load_project(), "drop", drop_id)
    for name in (*_COLUMNS, "landed_at", "kept_until"):
        ctx.echo(f"{name.replace('_', ' ')}: {item[name]}")
    counts = ", ".join(f"{item['account'][name]:,} {name}" for name in _COUNTS if item["account"][name])
    ctx.echo(f"rows: {counts or 'none'}")
    if item["codes"]:
        ctx.echo(f"stopped: {', '.join(item['codes'])}")
    for decision in item["decisions"]:
        author = f" by {decision['user']}" if decision["user"] else ""
        ctx.echo(f"{decision['at']}: {decision['action']}{author}: {decision['reason']}")
    ctx.print_result(item, next_command=_next_command(item))
    return 0


@drop.command("withdraw")
@click.argument("drop_id", metavar="DROP")
@click.option("--reason", required=True, help="Why it is taken out; it stays in the ledger for ever.")
@click.pass_obj
def withdraw_drop(ctx: CliContext, drop_id: str, reason: str) -> int:
    """Withdraw DROP, of which nothing is published: its source goes on without it. You log in."""
    withdrawn = decide_as_user(ctx, "withdraw", drop_id, reason)
    ctx.echo(f"{drop_id} is withdrawn; its original is kept until {withdrawn['kept_until']}")
    ctx.print_result(withdrawn, next_command=f"wellspring ingest {withdrawn['source']}")
    return 0


@drop.command("rejudge")
@click.argument("drop_id", metavar="DROP")
@click.option("--reason", required=True, help="Why it is judged again; it stays in the ledger for ever.")
@click.pass_obj
def rejudge_drop(ctx: CliContext, drop_id: str, reason: str) -> int:
    """Judge DROP again by the contract in force, from the original that the enclave keeps. You log in.

    The exit codes are those of `wellspring ingest`.
    """
    with progress_bar(enabled=not ctx.as_json) as draw:
        return print_ingest_result(ctx, decide_as_user(ctx, "rejudge", drop_id, reason, on_progress=draw))


def decide_as_user(
    ctx: CliContext, job: str, drop_id: str, reason: str, *, on_progress: ProgressCallback | None = None
) -> Any:
    """Let a user sign a decision about a drop, and run its job. Raises Refused before the login if it is impossible."""
    from wellspring.trust.user_notes import hash_reason

    project = ctx.load_project()
    require_terminal()
    # Before the password prompt.
    _require_possible(job, run_worker(project, "drop", drop_id))
    note = sign_as_user(
        project, _NOTE_KINDS[job], drop_id, hash_reason(reason), format_instant(open_clock(project).now())
    )
    params = {"note": note.model_dump(mode="json"), "reason": reason}
    return run_worker(project, job, drop_id, params=params, on_progress=on_progress)


def _require_possible(job: str, item: dict[str, Any]) -> None:
    name, account = item["id"], item["account"]
    if job == "discard":
        if not account["quarantined"]:
            raise NotFound(f"no row of drop {name} is quarantined", fix="see `wellspring quarantine list`")
    elif account["published"]:
        raise Refused(
            f"rows of drop {name} are published, and published rows stay",
            fix="ask the vendor for a correction under a new name",
        )
    elif job == "withdraw" and item["state"] == "withdrawn":
        raise Refused(f"drop {name} was withdrawn before", fix=f"see `wellspring drop show {name}`")


def _next_command(item: dict[str, Any]) -> str:
    name = item["id"]
    if item["state"] in {"stopped", "withdrawn"}:
        return f"wellspring drop rejudge {name} --reason TEXT"
    if item["account"]["quarantined"]:
        return f"wellspring quarantine show {name}"
    return f"wellspring prove drop:{name} --out PACK"
