"""The commands for the embedded servers of one project: up, down, restart, status, doctor and clean."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from wellspring.cli.context import CliContext
from wellspring.cli.render import escape_text, format_age
from wellspring.runtime.run_state import (
    DEVELOPMENT_NOTICE,
    describe_separation,
    find_unread_changes,
    read_run_state,
)

if TYPE_CHECKING:
    from wellspring.project import Project
    from wellspring.runtime.lock_holders import LockHolder
    from wellspring.trust.ledger.remote_sequencer import SequencerStatus


@click.command()
@click.pass_obj
def up(ctx: CliContext) -> int:
    """Start the servers of this project and return when every probe passes.

    Changes nothing if all servers run and wellspring.toml needs the same ones; otherwise it restarts all of them.
    """
    from wellspring.supervisor import client

    codes: list[str] = []
    running = client.start_servers(
        ctx.load_project(), progress=lambda line: ctx.echo(f"  {line}"), on_code=codes.append
    )
    ctx.echo(f"up: {', '.join(running.servers)}")
    ctx.echo(describe_separation(running.separation, running.separation_reason))
    _echo_mode(ctx, running.mode)
    for code in codes:
        ctx.echo(f"the code of the first enrollment, shown only once: {code}")
    document = {**running.model_dump(mode="json"), "bootstrap_code": codes[0] if codes else None}
    ctx.print_result(document, next_command="wellspring ingest")
    return 0


@click.command()
@click.pass_obj
def down(ctx: CliContext) -> int:
    """Stop the servers of this project; all data stays."""
    from wellspring.supervisor import client

    ended: list[LockHolder] = []
    stopped = client.stop_servers(
        ctx.load_project(), progress=lambda line: ctx.echo(f"  {line}"), on_ended=ended.append
    )
    ctx.echo("stopped" if stopped else "nothing was running")
    processes = [{"pid": holder.pid, "held": str(holder.path)} for holder in ended]
    ctx.print_result({"stopped": bool(stopped), "ended": processes}, next_command="wellspring up")
    return 0


@click.command()
@click.argument("server")
@click.pass_obj
def restart(ctx: CliContext, server: str) -> int:
    """Stop one server and start it again; the others stay up."""
    from wellspring.supervisor import client

    client.restart_server(ctx.load_project(), server)
    ctx.echo(f"{server} is up again")
    ctx.print_result({"restarted": server}, next_command="wellspring status")
    return 0


@click.command()
@click.option("--all", "list_all", is_flag=True, help="List every drop, not only the newest and those that wait.")
@click.pass_obj
def status(ctx: CliContext, list_all: bool) -> int:
    """Show servers, incidents, the current edition with its age, and row accounts of drops. Exit 69: not up.

    Without --all, the newest 20 drops are listed, and 20 with waiting rows; the total has all drops.
    """
    from wellspring.cli.incident import echo_incidents
    from wellspring.cli.ingest import print_unreleased
    from wellspring.cli.worker_client import run_worker
    from wellspring.errors import Unavailable
    from wellspring.operations.incidents import list_recent_incidents
    from wellspring.records.lake import Edition
    from wellspring.records.record import format_instant
    from wellspring.runtime.simulated_clock import open_clock
    from wellspring.supervisor import client

    project = ctx.load_project()
    rows = client.list_server_status(project)
    running = read_run_state(project)
    ctx.echo_table(
        ("server", "state", "pid", "address", "version", "uid"),
        [
            (
                row.name,
                row.state,
                str(row.pid or ""),
                row.address,
                row.version,
                str(row.uid if row.uid is not None else ""),
            )
            for row in rows
        ],
    )
    if running is not None:
        ctx.echo(describe_separation(running.separation, running.separation_reason))
    _echo_mode(ctx, project.project.mode if running is None else running.mode)
    unread_changes = find_unread_changes(project, running)
    for change in unread_changes:
        ctx.echo(f"{change.describe()}: {ctx.full_command(change.command)}")
    policies = _describe_policies(project)
    if policies:
        ctx.echo(policies)
    incidents = list_recent_incidents(project, open_clock(project).now())
    if incidents:
        ctx.echo("incidents that are open, or were healed within a day:")
        echo_incidents(ctx, incidents)
    all_up = bool(rows) and all(row.state == "up" for row in rows)
    published_state: dict[str, Any] = {"edition": None, "accounts": {}, "total": None}
    if all_up:
        try:
            published_state = run_worker(project, "accounts", params={"all": list_all})
        except Unavailable as exc:
            ctx.echo(f"accounts: {exc.what}")
    simulated_at = "" if project.simulation is None else format_instant(open_clock(project).now())
    if simulated_at:
        ctx.echo(f"SIMULATION: its clock stands at {simulated_at}; nothing here happened at the instant that it names")
    log = _read_log_status(project)
    if log is not None:
        waiting = f", {log.pending:,} lines wait" if log.pending else ""
        ctx.echo(f"log: {log.size:,} entries, newest checkpoint at {log.checkpoint_at}{waiting}")
        if log.problem:
            ctx.echo(f"the log does not grow: {escape_text(log.problem)}")
    if published_state["edition"] is not None:
        edition = Edition.model_validate(published_state["edition"])
        age_seconds = int((open_clock(project).now() - edition.known_since).total_seconds())
        tables = ", ".join(f"{table.table} {table.rows:,} rows" for table in edition.tables)
        ctx.echo(f"edition {edition.id}, {format_age(age_seconds)} old: {tables}")
    names = ("received", "published", "quarantined", "rejected", "discarded", "waiting", "balanced")
    if (total := published_state["total"]) is not None and published_state["accounts"]:
        accounts = {**published_state["accounts"], f"all {total['drops']:,} drops": total}
        ctx.echo_table(
            ("drop", *names), [(drop, *(account[name] for name in names)) for drop, account in accounts.items()]
        )
    unreleased = published_state.get("unreleased_contracts", [])
    print_unreleased(ctx, unreleased)
    next_command = "wellspring ingest" if all_up else "wellspring up"
    next_command = unreleased[0]["command"] if unreleased else next_command
    ctx.print_result(
        {
            "servers": [row._asdict() for row in rows],
            "running": running and running.model_dump(mode="json"),
            "policies": policies,
            "mode": project.project.mode if running is None else running.mode,
            "unread_changes": [change._asdict() for change in unread_changes],
            "incidents": [item.model_dump(mode="json") for item in incidents],
            "log": log and log._asdict(),
            "simulated_at": simulated_at or None,
            **published_state,
        },
        next_command=next_command,
    )
    return 0 if all_up else 69


@click.command()
@click.pass_obj
def doctor(ctx: CliContext) -> int:
    """Check packages, contracts, permissions and leftovers of this project. Exit 1: a check failed."""
    from wellspring.supervisor.doctor import run_health_checks

    project = ctx.load_project()
    checks = run_health_checks(project)
    for check in checks:
        first, *further = check.what.split("\n")
        ctx.echo(f"{'ok  ' if check.ok else 'FAIL'} {first}")
        for line in further:
            ctx.echo(f"     {line}")
        if not check.ok:
            ctx.echo(f"      fix: {check.fix}")
    all_ok = all(check.ok for check in checks)
    is_up = read_run_state(project) is not None
    command = "wellspring doctor" if not all_ok else "wellspring status" if is_up else "wellspring up"
    ctx.print_result([check._asdict() for check in checks], next_command=command)
    return 0 if all_ok else 1


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.pass_obj
def clean(ctx: CliContext, yes: bool) -> int:
    """Stop the servers and remove all their data: .wellspring/, the embedded vendor's folder, and the witness."""
    from wellspring.embedded.packages import embedded_sources
    from wellspring.supervisor import client

    project = ctx.load_project()
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("standard input is not a terminal: confirm with --yes")
        outbox = f", {project.vendor_dir} with every file in it" if embedded_sources(project) else ""
        question = f"remove every drop, edition, model, proof and user of {project.root}{outbox}?"
        click.confirm(escape_text(question), abort=True)
    client.clean_project(project)
    ctx.echo(f"removed all server data of {project.root}")
    ctx.print_result({"cleaned": str(project.root)}, next_command="wellspring up")
    return 0


def _describe_policies(project: Project) -> str:
    """Say that the policies on disk are not those in force; '' if they are, or if the project has none."""
    if project.models is None:
        return ""
    from wellspring.bootstrap import open_ledger_index
    from wellspring.bootstrap.policy_ports import open_released_policies

    return open_released_policies(project, open_ledger_index(project)).describe_difference()


def _echo_mode(ctx: CliContext, mode: str) -> None:
    ctx.echo(DEVELOPMENT_NOTICE if mode == "development" else "mode: governed")


def _read_log_status(project: Project) -> SequencerStatus | None:
    """Ask the sequencer; None if it does not respond."""
    from wellspring.errors import Unavailable
    from wellspring.runtime.server_sockets import find_server_socket
    from wellspring.trust.ledger.remote_sequencer import RemoteSequencer

    try:
        return RemoteSequencer(find_server_socket(project, "sequencer"), "owner").read_status()
    except Unavailable:
        return None
