"""up, down, status, doctor, clean: the embedded servers of one project."""

from __future__ import annotations

import sys

import click

from wellspring.cli.context import CliContext
from wellspring.cli.render import format_age, render_table


@click.command()
@click.pass_obj
def up(ctx: CliContext) -> int:
    """Start the servers of this project; returns when every probe is green. A second `up` is harmless."""
    from wellspring.supervisor import client

    running = client.start_servers(ctx.load_project(), progress=lambda line: ctx.echo(f"  {line}"))
    ctx.echo(f"up: {', '.join(running.servers)}")
    ctx.echo(_describe_separation(running.separation, running.separation_reason))
    ctx.print_result(running.model_dump(mode="json"), next_command="wellspring ingest")
    return 0


@click.command()
@click.pass_obj
def down(ctx: CliContext) -> int:
    """Stop the servers of this project. Data stays."""
    from wellspring.supervisor import client

    stopped = client.stop_servers(ctx.load_project())
    ctx.echo("stopped" if stopped else "nothing was running")
    ctx.print_result({"stopped": bool(stopped)}, next_command="wellspring up")
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
@click.pass_obj
def status(ctx: CliContext) -> int:
    """Show the servers, what readers see, how old it is, and whether every account balances. Exit 69 when not up."""
    from wellspring.cli.worker_client import run_worker
    from wellspring.errors import Unavailable
    from wellspring.records.data import Edition
    from wellspring.supervisor import client

    project = ctx.load_project()
    rows = client.list_server_status(project)
    running = project.read_run_state()
    ctx.echo(
        render_table(
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
    )
    if running is not None:
        ctx.echo(_describe_separation(running.separation, running.separation_reason))
    all_up = bool(rows) and all(row.state == "up" for row in rows)
    published_state = {"edition": None, "accounts": {}}
    if all_up:
        try:
            published_state = run_worker(project, "accounts")
        except Unavailable as busy:
            ctx.echo(f"accounts: {busy.what}")
    if published_state["edition"] is not None:
        from wellspring.records.clock import SystemClock

        edition = Edition.model_validate(published_state["edition"])
        age_seconds = int((SystemClock().now() - edition.known_since).total_seconds())
        tables = ", ".join(f"{table.table} {table.rows:,} rows" for table in edition.tables)
        ctx.echo(f"edition {edition.id}, {format_age(age_seconds)} old: {tables}")
    names = ("received", "published", "quarantined", "rejected", "discarded", "waiting", "balanced")
    if published_state["accounts"]:
        ctx.echo(
            render_table(
                ("drop", *names),
                [(drop, *(item[name] for name in names)) for drop, item in published_state["accounts"].items()],
            )
        )
    ctx.print_result(
        {
            "servers": [row._asdict() for row in rows],
            "running": running and running.model_dump(mode="json"),
            **published_state,
        },
        next_command="wellspring ingest" if all_up else "wellspring up",
    )
    return 0 if all_up else 69


@click.command()
@click.pass_obj
def doctor(ctx: CliContext) -> int:
    """Look for what would stop this project from working: packages, contracts, permissions, leftovers."""
    from wellspring.supervisor.doctor import run_health_checks

    project = ctx.load_project()
    checks = run_health_checks(project)
    for check in checks:
        ctx.echo(f"{'ok  ' if check.ok else 'ILL '} {check.what}" + ("" if check.ok else f"\n      fix: {check.fix}"))
    all_ok = all(ill.ok for ill in checks)
    is_up = project.read_run_state() is not None
    command = "wellspring doctor" if not all_ok else "wellspring status" if is_up else "wellspring up"
    ctx.print_result([ill._asdict() for ill in checks], next_command=command)
    return 0 if all_ok else 1


@click.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def clean(ctx: CliContext, yes: bool) -> int:
    """Stop the servers and remove all that they wrote: .wellspring/, the embedded vendor's house, the witness."""
    from wellspring.embedded.packages import embedded_sources
    from wellspring.supervisor import client

    project = ctx.load_project()
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("there is no terminal to ask at: say --yes if you mean it")
        outbox = f", {project.vendor_dir} with every file in it" if embedded_sources(project) else ""
        click.confirm(f"remove every drop, edition, model and proof of {project.root}, its people{outbox}?", abort=True)
    client.clean_project(project)
    ctx.echo(f"{project.root} is as it was before the first `wellspring up`")
    ctx.print_result({"cleaned": str(project.root)}, next_command="wellspring up")
    return 0


def _describe_separation(mode: str, reason: str) -> str:
    if mode == "user":
        return (
            "separated by user: worker, enclave, keys, witness and vendor each run under a numeric user of their own"
            + (f"; {reason}" if reason else "")
        )
    return f"separated by process and keys, not by user: {reason}"
