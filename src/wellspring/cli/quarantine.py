"""The `quarantine` commands: list, show and replay quarantined rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.ingest import print_ingest_result
from wellspring.cli.render import progress_bar, render_table
from wellspring.cli.worker_client import run_worker

MAX_SHOWN_ROWS = 20


@click.group(cls=LazyGroup)
def quarantine() -> None:
    """List, show and replay rows that violate their contract; they stay inside the enclave with their reasons."""


@quarantine.command("list")
@click.pass_obj
def list_quarantine(ctx: CliContext) -> int:
    """List the drops that have quarantined rows, with the reasons."""
    rows = run_worker(ctx.load_project(), "quarantined")
    rows_by_drop: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        rows_by_drop.setdefault(row["drop"], []).append(row)
    summaries = [
        {
            "drop": drop,
            "rows": len(drop_rows),
            "reasons": dict(Counter(reason["code"] for row in drop_rows for reason in row["reasons"])),
            "expires_at": min(row["expires_at"] for row in drop_rows),
        }
        for drop, drop_rows in rows_by_drop.items()
    ]
    table_rows = [
        (
            summary["drop"],
            summary["rows"],
            ", ".join(f"{count} {code}" for code, count in summary["reasons"].items()),
            summary["expires_at"][:10],
        )
        for summary in summaries
    ]
    ctx.echo(render_table(("drop", "rows", "reasons", "until"), table_rows) if table_rows else "no row is quarantined")
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
    rows = run_worker(ctx.load_project(), "quarantined", drop)
    for row in rows[:MAX_SHOWN_ROWS]:
        ctx.echo(f"row {row['row_number']:,}")
        for reason in row["reasons"]:
            location = f" in {reason['column']}" if reason["column"] else ""
            value = row["values"].get(reason["column"] or "", "")
            ctx.echo(f"  {reason['code']}{location}: {reason['message']}  {value}".rstrip())
    if len(rows) > MAX_SHOWN_ROWS:
        ctx.echo(f"... and {len(rows) - MAX_SHOWN_ROWS:,} more; see them all with --json")
    ctx.echo("" if rows else f"no row of {drop} is quarantined")
    ctx.print_result(
        rows, next_command=f"wellspring quarantine replay {drop}" if rows else "wellspring quarantine list"
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
