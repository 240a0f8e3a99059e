"""The `retain` command, and the `hold` commands: which built editions stay, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import progress_bar
from wellspring.cli.users import require_terminal, sign_as_user
from wellspring.cli.worker_client import run_worker
from wellspring.errors import Refused
from wellspring.records.record import format_instant
from wellspring.runtime.simulated_clock import open_clock

if TYPE_CHECKING:
    from wellspring.records.user_notes import NoteKind

NOTHING_RETIRED_EXIT_CODE = 3


@click.command()
@click.pass_obj
def retain(ctx: CliContext) -> int:
    """Retire the built editions that are older than [retention] says and that nothing names; remove their files.

    Exit 3: nothing was retired.
    """
    with progress_bar(enabled=not ctx.as_json) as draw:
        result: dict[str, Any] = run_worker(ctx.load_project(), "retain", on_progress=draw)
    for edition in result["retired"]:
        ctx.echo(f"retired edition {edition}")
    for edition, named in result["named"].items():
        ctx.echo(f"kept edition {edition}: {named} names it")
    for table in result["compacted"]:
        ctx.echo(f"compacted table {table}")
    ctx.echo(f"{result['removed_files']:,} files removed")
    ctx.print_result(result, next_command="wellspring status")
    return 0 if result["retired"] else NOTHING_RETIRED_EXIT_CODE


@click.group(cls=LazyGroup)
def hold() -> None:
    """Keep a built edition longer than [retention] says, until the hold is removed."""


@hold.command("list")
@click.pass_obj
def list_holds(ctx: CliContext) -> int:
    """List the holds in force: since when, by whom and why."""
    holds: list[dict[str, Any]] = run_worker(ctx.load_project(), "holds", offline=True)
    columns = ("edition", "since", "user", "reason")
    if holds:
        ctx.echo_table(columns, [tuple(item[name] for name in columns) for item in holds])
    else:
        ctx.echo("no edition is held")
    first = holds[0]["edition"] if holds else None
    ctx.print_result(
        holds, next_command=f"wellspring hold remove {first} --reason TEXT" if first else "wellspring status"
    )
    return 0


@hold.command("add")
@click.argument("edition")
@click.option("--reason", required=True, help="Why it is kept; it stays in the ledger for ever.")
@click.pass_obj
def add_hold(ctx: CliContext, edition: str, reason: str) -> int:
    """Keep EDITION, whatever its age. You log in."""
    return _change_hold(ctx, "hold", edition, reason)


@hold.command("remove")
@click.argument("edition")
@click.option("--reason", required=True, help="Why it need not be kept; it stays in the ledger for ever.")
@click.pass_obj
def remove_hold(ctx: CliContext, edition: str, reason: str) -> int:
    """Remove the hold on EDITION: its retention decides again. You log in."""
    return _change_hold(ctx, "lift_hold", edition, reason)


def _change_hold(ctx: CliContext, action: NoteKind, edition: str, reason: str) -> int:
    from wellspring.trust.user_notes import hash_reason

    project = ctx.load_project()
    require_terminal()
    # Before the password prompt.
    is_held = edition in {item["edition"] for item in run_worker(project, "holds")}
    if is_held != (action == "lift_hold"):
        raise Refused(f"{'a' if is_held else 'no'} hold is on edition {edition}", fix="see `wellspring hold list`")
    note = sign_as_user(project, action, edition, hash_reason(reason), format_instant(open_clock(project).now()))
    params = {"note": note.model_dump(mode="json"), "reason": reason}
    holds = run_worker(project, action, edition, params=params)
    ctx.echo(f"edition {edition} is {'held' if action == 'hold' else 'no longer held'}")
    ctx.print_result(holds, next_command="wellspring hold list")
    return 0
