"""The `finding` commands: list the findings about files of a source, and acknowledge one as a user."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.users import require_terminal, sign_as_user
from wellspring.cli.worker_client import run_worker
from wellspring.errors import NotFound, Unavailable, suggest_name
from wellspring.records.record import format_instant
from wellspring.runtime.run_state import read_run_state
from wellspring.runtime.simulated_clock import open_clock

_COLUMNS = ("id", "source", "name", "code", "since", "message")


@click.group(cls=LazyGroup)
def finding() -> None:
    """List and acknowledge findings: files that were not ingested, or that changed afterwards."""


@finding.command("list")
@click.argument("source", required=False)
@click.option("--all", "include_all", is_flag=True, help="Also list acknowledged and closed findings.")
@click.pass_obj
def list_findings(ctx: CliContext, source: str | None, include_all: bool) -> int:
    """List the open findings of SOURCE, or of all sources. A finding closes when its file is removed or replaced."""
    project = ctx.load_project()
    if source is not None:
        project.require_source(source)
    findings: list[dict[str, Any]] = run_worker(project, "findings", source or "", offline=True)
    shown = [item for item in findings if include_all or item["state"] == "open"]
    if not shown:
        ctx.echo("no finding" if include_all else f"no open finding; --all lists {len(findings):,}")
    elif include_all:
        rows = [(*(item[name] for name in _COLUMNS), _describe_state(item)) for item in shown]
        ctx.echo_table((*_COLUMNS, "state"), rows)
    else:
        ctx.echo_table(_COLUMNS, [tuple(item[name] for name in _COLUMNS) for item in shown])
    first_open = next((item["id"] for item in shown if item["state"] == "open"), None)
    ctx.print_result(
        shown, next_command=f"wellspring finding acknowledge {first_open}" if first_open else "wellspring ingest"
    )
    return 0


@finding.command()
@click.argument("finding_id", metavar="ID")
@click.option("--reason", default="", help="Why it needs no more action; it stays in the ledger for ever.")
@click.pass_obj
def acknowledge(ctx: CliContext, finding_id: str, reason: str) -> int:
    """Acknowledge the finding ID. You log in; it is listed again only if its file changes again."""
    from wellspring.trust.user_notes import hash_reason

    project = ctx.load_project()
    require_terminal()
    if read_run_state(project) is None:
        raise Unavailable("the servers of this project are not running", fix="run `wellspring up`")
    # Check before the password prompt.
    ids = [item["id"] for item in run_worker(project, "findings")]
    if finding_id not in ids:
        raise NotFound(f"no finding {finding_id!r}", fix=suggest_name(finding_id, ids))
    note = sign_as_user(
        project, "acknowledgement", finding_id, hash_reason(reason), format_instant(open_clock(project).now())
    )
    params = {"note": note.model_dump(mode="json"), "reason": reason}
    acknowledged = run_worker(project, "acknowledge", finding_id, params=params)
    ctx.echo(f"{acknowledged['user']} acknowledged {acknowledged['code']} of {acknowledged['name']}")
    ctx.print_result(acknowledged, next_command="wellspring finding list")
    return 0


def _describe_state(item: dict[str, Any]) -> str:
    if item["state"] == "acknowledged":
        return f"acknowledged by {item['user']} at {item['changed_at']}" + (
            f": {item['reason']}" * bool(item["reason"])
        )
    return "open" if item["state"] == "open" else f"closed at {item['changed_at']}: its file is gone or was replaced"
