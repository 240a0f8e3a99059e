"""receive, and quarantine list | show | replay."""

from __future__ import annotations

from collections import Counter
from typing import Any

import click

from wellspring.cli.context import CliContext, LazyGroup
from wellspring.cli.render import format_age, progress_bar, render_table
from wellspring.cli.worker_client import run_worker

WAITING_EXIT_CODE = 75
NOTHING_NEW_EXIT_CODE = 3
MAX_SHOWN_ROWS = 20


@click.command()
@click.argument("source", required=False)
@click.pass_obj
def ingest(ctx: CliContext, source: str | None) -> int:
    """Bring in everything new from SOURCE, prove it, and publish it as one edition.

    Exit 0: published. 3: there was nothing new. 75: a drop was stopped, or only files came that wait untouched.
    """
    project = ctx.load_project()
    if source is None:
        if len(project.sources) != 1:
            raise click.UsageError(f"name a source: {', '.join(project.sources)}")
        source = next(iter(project.sources))
    project.source_settings(source)
    with progress_bar(enabled=not ctx.as_json) as draw:
        ingest_result = run_worker(project, "ingest", source, on_progress=draw)
    return print_ingest_result(ctx, ingest_result)


def print_ingest_result(ctx: CliContext, ingest_result: dict[str, Any]) -> int:
    """Print what one run did, and return the exit code that says it."""
    edition = ingest_result["edition"]
    stopped = ingest_result["verdict"]["outcome"] != "pass"
    if not ingest_result["files"]:
        ctx.echo(f"nothing new in {ingest_result['source']}; " + _describe_serving(ingest_result))
    else:
        ctx.echo(
            render_table(
                ("file", "status", "received", "published", "quarantined", "rejected", "waiting"),
                _file_rows(ingest_result),
            )
        )
        for outcome in ingest_result["files"]:
            for reason in outcome["reasons"]:
                location = f" in {reason['column']}" if reason["column"] else ""
                count = f"{reason['count']:,} x " if reason["count"] is not None else ""
                ctx.echo(f"  {outcome['name']}: {count}{reason['code']}{location}: {reason['message']}")
        ctx.echo(
            f"published edition {edition['id']}"
            if ingest_result["newly_published"]
            else _describe_serving(ingest_result)
        )
    for reason in ingest_result["verdict"]["reasons"]:
        ctx.echo(f"  {reason['code']}: {reason['message']}")
    if stopped:
        command = "wellspring ingest    (once the vendor has sent a good file)"
    elif any(outcome["account"] and outcome["account"]["quarantined"] for outcome in ingest_result["files"]):
        command = "wellspring quarantine list"
    else:
        command = f"wellspring prove edition:{edition['id']} --out PACK" if edition else "wellspring status"
    ctx.print_result(ingest_result, next_command=command)
    if stopped:
        return WAITING_EXIT_CODE
    if ingest_result["newly_published"] or any(outcome["drop"] for outcome in ingest_result["files"]):
        return 0
    # A file that fits no contract, or came again under an old name: somebody must look, though nothing was stopped.
    return WAITING_EXIT_CODE if ingest_result["files"] else NOTHING_NEW_EXIT_CODE


def _file_rows(ingest_result: dict[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for outcome in ingest_result["files"]:
        counts = outcome["account"] or dict.fromkeys(("received", "published", "quarantined", "rejected", "waiting"), 0)
        rows.append(
            (
                outcome["name"],
                outcome["status"],
                *(counts[name] for name in ("received", "published", "quarantined", "rejected", "waiting")),
            )
        )
    return rows


def _describe_serving(ingest_result: dict[str, Any]) -> str:
    if ingest_result["edition"] is None:
        return "nothing is published yet"
    return f"readers keep the last good edition {ingest_result['edition']['id']}, {format_age(ingest_result['age_seconds'])} old"


@click.group(cls=LazyGroup)
def quarantine() -> None:
    """Rows that did not keep their contract wait inside the enclave, each with its reasons."""


@quarantine.command("list")
@click.pass_obj
def list_quarantine(ctx: CliContext) -> int:
    """List the drops that have waiting rows, and why they wait."""
    rows = run_worker(ctx.load_project(), "quarantined")
    drops: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        drops.setdefault(row["drop"], []).append(row)
    lines = [
        {
            "drop": drop,
            "rows": len(waiting),
            "reasons": dict(Counter(reason["code"] for row in waiting for reason in row["reasons"])),
            "expires_at": min(row["expires_at"] for row in waiting),
        }
        for drop, waiting in drops.items()
    ]
    shown = [
        (
            line["drop"],
            line["rows"],
            ", ".join(f"{count} {code}" for code, count in line["reasons"].items()),
            line["expires_at"][:10],
        )
        for line in lines
    ]
    ctx.echo(render_table(("drop", "rows", "reasons", "until"), shown) if shown else "no row waits in quarantine")
    ctx.print_result(
        lines, next_command=f"wellspring quarantine show {lines[0]['drop']}" if lines else "wellspring ingest"
    )
    return 0


@quarantine.command()
@click.argument("drop")
@click.pass_obj
def show(ctx: CliContext, drop: str) -> int:
    """Show the waiting rows of DROP with every value masked."""
    rows = run_worker(ctx.load_project(), "quarantined", drop)
    for row in rows[:MAX_SHOWN_ROWS]:
        ctx.echo(f"row {row['row_number']:,}")
        for reason in row["reasons"]:
            location = f" in {reason['column']}" if reason["column"] else ""
            value = row["values"].get(reason["column"] or "", "")
            ctx.echo(f"  {reason['code']}{location}: {reason['message']}  {value}".rstrip())
    if len(rows) > MAX_SHOWN_ROWS:
        ctx.echo(f"... and {len(rows) - MAX_SHOWN_ROWS:,} more; see them all with --json")
    ctx.echo("" if rows else f"no row of {drop} waits in quarantine")
    ctx.print_result(
        rows, next_command=f"wellspring quarantine replay {drop}" if rows else "wellspring quarantine list"
    )
    return 0


@quarantine.command()
@click.argument("drop")
@click.pass_obj
def replay(ctx: CliContext, drop: str) -> int:
    """Judge the waiting rows of DROP again, by its contract as it stands now, and publish those that pass."""
    with progress_bar(enabled=not ctx.as_json) as draw:
        return print_ingest_result(ctx, run_worker(ctx.load_project(), "replay", drop, on_progress=draw))
