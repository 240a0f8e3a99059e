"""The `incident` commands: list and show what went wrong in operation and what was done about it."""

from __future__ import annotations

from collections.abc import Sequence

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.records.incidents import Incident
from wellspring.records.record import format_instant

_COLUMNS = ("id", "subject", "state", "severity", "opened", "healed", "owner", "cause")


@click.group(cls=LazyGroup)
def incident() -> None:
    """List and show incidents: servers that exited or hung, and what was done about it."""


@incident.command("list")
@click.option("--all", "include_all", is_flag=True, help="Also list incidents that were healed more than a day ago.")
@click.pass_obj
def list_incidents(ctx: CliContext, include_all: bool) -> int:
    """List the incidents that are open, and those that were healed within a day."""
    from wellspring.operations.incidents import list_all_incidents, list_recent_incidents
    from wellspring.runtime.simulated_clock import open_clock

    project = ctx.load_project()
    incidents = (
        list_all_incidents(project) if include_all else list_recent_incidents(project, open_clock(project).now())
    )
    if incidents:
        echo_incidents(ctx, incidents)
    else:
        ctx.echo("no incident" if include_all else "no open incident, and none healed within a day; --all lists all")
    first_open = next((item.id for item in incidents if item.state == "open"), None)
    ctx.print_result(
        [item.model_dump(mode="json") for item in incidents],
        next_command=f"wellspring incident show {first_open}" if first_open else "wellspring status",
    )
    return 0


@incident.command()
@click.argument("incident_id", metavar="ID")
@click.pass_obj
def show(ctx: CliContext, incident_id: str) -> int:
    """Show the incident ID with everything that was done about it."""
    from wellspring.operations.incidents import get_incident

    found_incident = get_incident(ctx.load_project(), incident_id)
    echo_incidents(ctx, [found_incident])
    ctx.echo_table(
        ("at", "act", "result"), [(format_instant(act.at), act.what, act.result) for act in found_incident.acts]
    )
    server = found_incident.subject.removeprefix("server:")
    is_open_server = found_incident.state == "open" and server != found_incident.subject
    ctx.print_result(
        found_incident.model_dump(mode="json"),
        next_command=f"wellspring restart {server}" if is_open_server else "wellspring incident list",
    )
    return 0


@incident.command()
@click.pass_obj
def restore(ctx: CliContext) -> int:
    """Write the files of incidents again from the ledger; run it as the user who started the servers."""
    from wellspring.bootstrap import open_ledger_index
    from wellspring.embedded.layout import ensure_ownership
    from wellspring.operations.incidents import INCIDENT_ACTIONS, restore_incidents
    from wellspring.runtime.simulated_clock import open_clock

    project = ctx.load_project()
    ensure_ownership(project)
    index = open_ledger_index(project)
    indexed = [item for action in INCIDENT_ACTIONS for item in index.list_entries(action=action)]
    entries = [item.entry for item in sorted(indexed, key=lambda item: item.index)]
    restored = restore_incidents(project, entries, open_clock(project).now())
    ctx.echo(f"{len(restored):,} incidents were written again")
    ctx.print_result([item.model_dump(mode="json") for item in restored], next_command="wellspring incident list")
    return 0


def echo_incidents(ctx: CliContext, incidents: Sequence[Incident]) -> None:
    """Print a table of incidents."""
    ctx.echo_table(
        _COLUMNS,
        [
            (
                item.id,
                item.subject,
                item.state,
                item.severity,
                format_instant(item.opened_at),
                format_instant(item.healed_at) if item.healed_at is not None else "",
                item.owner,
                item.text,
            )
            for item in incidents
        ],
    )
