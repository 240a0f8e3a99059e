"""The `ingest` command: fetch, validate and publish new drops."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from wellspring.cli.context import CliContext
from wellspring.cli.render import format_age, progress_bar
from wellspring.cli.worker_client import run_worker
from wellspring.runtime.run_state import find_unread_changes, read_run_state

STOPPED_EXIT_CODE = 75
NOTHING_NEW_EXIT_CODE = 3
_COUNTS = ("received", "published", "copies", "quarantined", "rejected", "waiting")


@click.command()
@click.argument("source", required=False)
@click.pass_obj
def ingest(ctx: CliContext, source: str | None) -> int:
    """Ingest all new files of SOURCE, validate them, and publish them as one edition.

    Exit 0: published. 3: no new file, or only files that are still written. 75: a drop was stopped, or each new file
    needs attention (a finding that no earlier run has reported).
    """
    project = ctx.load_project()
    if source is None:
        if len(project.sources) != 1:
            raise click.UsageError(f"name a source: {', '.join(project.sources)}")
        source = next(iter(project.sources))
    project.source_settings(source)
    unread_changes = find_unread_changes(project, read_run_state(project))
    for change in unread_changes:
        ctx.echo(f"{change.describe()}: {ctx.full_command(change.command)}")
    with progress_bar(enabled=not ctx.as_json) as draw:
        ingest_result = run_worker(project, "ingest", source, on_progress=draw)
    if unread_changes:
        ingest_result = {**ingest_result, "unread_changes": [change._asdict() for change in unread_changes]}
    return print_ingest_result(ctx, ingest_result)


def print_ingest_result(ctx: CliContext, ingest_result: dict[str, Any]) -> int:
    """Print the result of one ingest or replay; return the exit code."""
    edition = ingest_result["edition"]
    stopped = ingest_result["verdict"]["outcome"] != "pass"
    if not ingest_result["files"]:
        ctx.echo(f"nothing new in {ingest_result['source']}; " + _describe_serving(ingest_result))
    else:
        ctx.echo_table(("file", "status", *_COUNTS), _file_rows(ingest_result))
        for outcome in ingest_result["files"]:
            for reason in outcome["reasons"]:
                location = f" in {reason['column']}" if reason["column"] else ""
                count = f"{reason['count']:,} x " if reason["count"] else ""
                ctx.echo(f"  {outcome['name']}: {count}{reason['code']}{location}: {reason['message']}")
        ctx.echo(
            f"published edition {edition['id']}"
            if ingest_result["newly_published"]
            else _describe_serving(ingest_result)
        )
    if open_count := ingest_result.get("open_findings", 0):
        ctx.echo(f"{open_count:,} open finding{'s' * (open_count > 1)}: {ctx.full_command('wellspring finding list')}")
    for reason in ingest_result["verdict"]["reasons"]:
        ctx.echo(f"  {reason['code']}: {reason['message']}")
    print_unreleased(ctx, ingest_result.get("unreleased_contracts", ()))
    if stopped:
        command = "wellspring ingest    (once the vendor has sent a good file)"
    elif any(outcome["account"] and outcome["account"]["quarantined"] for outcome in ingest_result["files"]):
        command = "wellspring quarantine list"
    else:
        command = f"wellspring prove edition:{edition['id']} --out PACK" if edition else "wellspring status"
    ctx.print_result(ingest_result, next_command=command)
    if stopped:
        return STOPPED_EXIT_CODE
    if ingest_result["newly_published"] or any(outcome["drop"] for outcome in ingest_result["files"]):
        return 0
    # A new finding needs attention, but no drop was stopped. A file that is still written is not new yet.
    has_finding = any(outcome["status"] == "finding" for outcome in ingest_result["files"])
    return STOPPED_EXIT_CODE if has_finding else NOTHING_NEW_EXIT_CODE


def print_unreleased(ctx: CliContext, contracts: Iterable[dict[str, str]]) -> None:
    """Print the contracts whose file differs from the version in force, each with its next command."""
    for contract in contracts:
        ctx.echo(
            f"contract {contract['name']}: {contract['version_on_disk']} on disk is not released; files are judged by "
            f"{contract['version_in_force']}: {ctx.full_command(contract['command'])}"
        )


def _file_rows(ingest_result: dict[str, Any]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for outcome in ingest_result["files"]:
        account = outcome["account"] or dict.fromkeys(_COUNTS, 0)
        rows.append((outcome["name"], outcome["status"], *(account[name] for name in _COUNTS)))
    return rows


def _describe_serving(ingest_result: dict[str, Any]) -> str:
    if ingest_result["edition"] is None:
        return "nothing is published yet"
    age = format_age(ingest_result["age_seconds"])
    return f"readers keep the last good edition {ingest_result['edition']['id']}, {age} old"
