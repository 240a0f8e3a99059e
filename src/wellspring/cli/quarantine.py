"""The `quarantine` commands: list, show, replay and discard quarantined rows."""

from __future__ import annotations

from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.drop import decide_as_user
from wellspring.cli.ingest import print_ingest_result
from wellspring.cli.render import progress_bar
from wellspring.cli.worker_client import run_worker

MAX_SHOWN_ROWS = 20


@click.group(cls=LazyGroup)
def quarantine() -> None:
    """List, show, replay and discard rows that violate their contract; they stay inside the enclave."""


@quarantine.command("list")
@click.pass_obj
def list_quarantine(ctx: CliContext) -> int:
    """List the drops that have quarantined rows, with the reasons."""
    summaries: list[dict[str, Any]] = run_worker(ctx.load_project(), "quarantine-counts")
    table_rows = [
        (
            summary["drop"],
            summary["rows"],
            ", ".join(f"{count:,} {code}" for code, count in summary["reasons"].items()),
            summary["expires_at"][:10],
        )
        for summary in summaries
    ]
    if table_rows:
        ctx.echo_table(("drop", "rows", "reasons", "until"), table_rows)
    else:
        ctx.echo("no row is quarantined")
    ctx.print_result(
        summaries,
        next_command=f"wellspring quarantine show {summaries[0]['drop']}" if summaries else "wellspring ingest",
    )
    return 0


@quarantine.command("show")
@click.argument("drop")
@click.pass_obj
def show_quarantine(ctx: CliContext, drop: str) -> int:
    """Show the quarantined rows of DROP with every value masked."""
    result = run_worker(ctx.load_project(), "quarantined", drop)
    rows: list[dict[str, Any]] = result["rows"]
    for row in rows[:MAX_SHOWN_ROWS]:
        ctx.echo(f"row {row['row_number']:,}")
        for reason in row["reasons"]:
            location = f" in {reason['column']}" if reason["column"] else ""
            value = row["values"].get(reason["column"] or "", "")
            ctx.echo(f"  {reason['code']}{location}: {reason['message']}  {value}".rstrip())
    if not rows:
        ctx.echo(f"no row of {drop} is quarantined")
    else:
        shown = f"shown: {min(len(rows), MAX_SHOWN_ROWS):,} of {result['total']:,} quarantined rows"
        ctx.echo(shown + (f"; --json lists {len(rows):,}" if len(rows) > MAX_SHOWN_ROWS else ""))
    ctx.print_result(
        result, next_command=f"wellspring quarantine replay {drop}" if rows else "wellspring quarantine list"
    )
    return 0


@quarantine.command("replay")
@click.argument("drop")
@click.pass_obj
def replay_quarantine(ctx: CliContext, drop: str) -> int:
    """Validate the quarantined rows of DROP again, by the current contract, and publish the rows that pass."""
    with progress_bar(enabled=not ctx.as_json) as draw:
        ingest_result = run_worker(ctx.load_project(), "replay", drop, on_progress=draw)
    return print_ingest_result(ctx, ingest_result)


@quarantine.command("discard")
@click.argument("drop")
@click.option("--reason", required=True, help="Why they are not mended; it stays in the ledger for ever.")
@click.pass_obj
def discard_quarantine(ctx: CliContext, drop: str, reason: str) -> int:
    """Discard the quarantined rows of DROP for ever. You log in; nothing brings them back."""
    discarded = decide_as_user(ctx, "discard", drop, reason)
    ctx.echo(f"{discarded['account']['discarded']:,} rows of {drop} are discarded")
    ctx.print_result(discarded, next_command="wellspring quarantine list")
    return 0
